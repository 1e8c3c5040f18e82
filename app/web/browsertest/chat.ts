import assert from "node:assert/strict";
import { agree, inOrder, numbered } from "./agree";
import { subject } from "./runner";

const check = subject("chat");

check("two people chat both ways, in one order, and see who is there", async (stage) => {
  const room = stage.name("room");
  const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
  const [hers, his] = [numbered("hers", 10), numbered("his", 10)];
  await Promise.all([alice.say(...hers), bob.say(...his)]);
  const all = await agree(stage.cluster, room, 20, alice, bob);
  inOrder(all, hers);
  inOrder(all, his);
  for (const { present } of [alice, bob]) for (const { user } of [alice, bob]) await present(user).waitFor();
});

check(
  "two rooms are on two shards, which the footers name, and each has its own conversation",
  async (stage) => {
    const { cluster } = stage;
    const rooms = await Promise.all(
      [1, 2].map((n) => cluster.roomAt(cluster.shard(n), stage.name(`room${n}`))),
    );
    const [one, two] = rooms as [string, string];
    const [alice, bob] = [await stage.arrive("alice", one), await stage.arrive("bob", one)];
    const [carol, dave] = [await stage.arrive("carol", two), await stage.arrive("dave", two)];
    await Promise.all([alice.say("hello, bob"), carol.say("hello, dave")]);
    await Promise.all([bob.say("hello, alice"), dave.say("hello, carol")]);
    assert.equal((await agree(cluster, one, 2, alice, bob)).join(), "hello, bob,hello, alice");
    assert.equal((await agree(cluster, two, 2, carol, dave)).join(), "hello, dave,hello, carol");
    await alice.servedBy(cluster.shard(1));
    await carol.servedBy(cluster.shard(2));
  },
  { cluster: true },
);

check(
  "two people in one room over two nodes chat in one order",
  async (stage) => {
    const { cluster } = stage;
    const room = stage.name("room");
    const alice = await stage.arrive("alice", room, { from: cluster.node(1) });
    const bob = await stage.arrive("bob", room, { from: cluster.node(2) });
    const [hers, his] = [numbered("hers", 25), numbered("his", 25)];
    await Promise.all([alice.say(...hers), bob.say(...his)]);
    const all = await agree(cluster, room, 50, alice, bob);
    inOrder(all, hers);
    inOrder(all, his);
    for (const { present } of [alice, bob])
      for (const { user } of [alice, bob]) await present(user).waitFor();
  },
  { cluster: true },
);

check("two tabs of one browser are two people who can talk at once", async (stage) => {
  const alice = await stage.arrive("alice", stage.name("room"));
  const tab = await alice.tab();
  assert.notEqual(tab.user, alice.user, "the second tab's name");
  await tab.say("hello from the other tab");
  await alice.shows("hello from the other tab");
});

check("who is writing is shown, and no longer after the message", async (stage) => {
  const room = stage.name("room");
  const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
  await bob.composer().pressSequentially("hm");
  await alice.typing(bob.user).waitFor();
  await bob.composer().press("Enter");
  await agree(stage.cluster, room, 1, alice, bob);
  await alice.typing(bob.user).waitFor({ state: "detached" });
});

check("a message is edited, by its author, on every screen and after a reload", async (stage) => {
  const room = stage.name("room");
  const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
  await alice.say("teh first", "the second");
  await agree(stage.cluster, room, 2, alice, bob);
  await alice.edit("teh first", "the first");
  await bob.shows("the first");
  assert.deepEqual(await bob.texts(), ["the first", "the second"]);
  await bob.row("the first").getByText("edited").waitFor();
  await bob.page.reload();
  await bob.shows("the first");
  await bob.row("the first").getByText("edited").waitFor();
  assert.deepEqual(
    await bob.actions("the second"),
    ["Reply"],
    "what can be done with somebody else's message",
  );
});

check("what was begun is still there after another message was edited, and after a reload", async (stage) => {
  const alice = await stage.arrive("alice", stage.name("room"));
  await alice.say("teh first");
  await alice.sent();
  await alice.composer().fill("the second, half");
  await alice.edit("teh first", "the first");
  await alice.shows("the first");
  assert.equal(await alice.composer().inputValue(), "the second, half");
  await alice.page.reload();
  await alice.shows("the first");
  assert.equal(await alice.composer().inputValue(), "the second, half");
});

check(
  "names are offered until one is there whole, and actions until the keyboard is elsewhere",
  async (stage) => {
    const room = stage.name("room");
    const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
    await alice.present(bob.user).waitFor();
    await alice.say("look here");
    await alice.sent();
    const offered = alice.page.getByRole("listbox", { name: "People to mention" });
    await alice.composer().fill(`@${bob.user.slice(0, -1)}`);
    await offered.waitFor();
    await alice.composer().fill(`@${bob.user}`);
    await offered.waitFor({ state: "detached" });
    await alice.row("look here").focus();
    const actions = alice.row("look here").getByRole("group", { name: "Actions" });
    await actions.waitFor();
    await alice.composer().focus();
    await actions.waitFor({ state: "detached" });
  },
);

check("a finger, too, finds what can be done with a message", async (stage) => {
  const room = stage.name("room");
  const alice = await stage.arrive("alice", room, { hasTouch: true, isMobile: true });
  await alice.say("tap me");
  await alice.sent();
  await alice.row("tap me").tap();
  await alice.row("tap me").getByRole("button", { name: "Reply" }).tap();
  await alice.say("tapped");
  await alice.row("tapped").getByText("tap me").waitFor();
});

check("a message is deleted on every screen and after a reload, and says so", async (stage) => {
  const room = stage.name("room");
  const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
  await alice.say("not this", "but this");
  await agree(stage.cluster, room, 2, alice, bob);
  await alice.delete("not this");
  for (const person of [alice, bob]) await person.deleted().waitFor();
  await bob.page.reload();
  await bob.shows("but this");
  await bob.deleted().waitFor();
  assert.ok(!(await bob.page.content()).includes("not this"), "the deleted text is nowhere in the page");
});

check("an answer shows what it answers, and leads there", async (stage) => {
  const room = stage.name("room");
  const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
  await alice.say("who comes along?", ...numbered("meanwhile", 40));
  await alice.sent();
  await bob.shows("meanwhile 40");
  await bob.reply("who comes along?", "I do");
  const answer = alice.row("I do");
  await answer.getByText("who comes along?").click();
  await alice.inView("who comes along?");
});
