import assert from "node:assert/strict";
import { agree } from "./agree";
import { subject } from "./runner";
import { until } from "./wait";

const check = subject("people");

check(
  "two become friends: a request is announced, accepted, and both see each other's status",
  async (stage) => {
    const [alice, bob] = [
      await stage.arrive("alice", stage.name("one")),
      await stage.arrive("bob", stage.name("two")),
    ];
    await alice.requestFriend(bob.user);
    await alice.friend(bob.user, { state: "requested" }).waitFor();
    await bob.answerFriend(alice.user, "Accept");
    await alice.friend(bob.user, { status: "online" }).waitFor();
    await bob.friend(alice.user, { status: "online" }).waitFor();
    await bob.setStatus("away");
    await alice.friend(bob.user, { status: "away" }).waitFor();
    await bob.leave();
    await alice.friend(bob.user, { status: "offline" }).waitFor();
  },
);

check("a request is declined, a friend removed, a user blocked", async (stage) => {
  const [alice, bob] = [
    await stage.arrive("alice", stage.name("one")),
    await stage.arrive("bob", stage.name("two")),
  ];
  await alice.requestFriend(bob.user);
  await bob.answerFriend(alice.user, "Decline");
  await bob.requestFriend(alice.user);
  await alice.friend(bob.user, { status: "online" }).waitFor();
  await alice.menuOf(bob.user, "Remove from friends");
  await alice.confirm("Remove");
  await bob.friend(alice.user).waitFor({ state: "detached" });
  await alice.requestFriend(bob.user);
  await bob.menuOf(alice.user, "Block");
  await bob.confirm("Block");
  await bob.friend(alice.user, { state: "asked" }).waitFor({ state: "detached" });
  await alice.friend(bob.user, { state: "requested" }).waitFor(); // who is blocked does not notice
});

check("friends write to each other alone; what is unread is counted until it is read", async (stage) => {
  const [alice, bob] = [
    await stage.arrive("alice", stage.name("one")),
    await stage.arrive("bob", stage.name("two")),
  ];
  await alice.requestFriend(bob.user);
  await bob.answerFriend(alice.user, "Accept");
  await alice.friend(bob.user, { status: "online" }).waitFor();
  await alice.menuOf(bob.user, "Send a direct message");
  await alice.joined();
  await alice.empty().getByText(`Nothing was said between you and ${bob.user} yet.`).waitFor();
  await alice.say("just for you", "and one more");
  await until("bob has two unread messages", async () => (await bob.unread(alice.user)) === 2);
  await bob.listed(alice.user).getByRole("button").first().click();
  await bob.shows("and one more");
  await until("bob has read them", async () => (await bob.unread(alice.user)) === 0);
  await bob.say("thank you");
  await alice.shows("thank you");
  await bob.page.reload();
  await bob.shows("thank you");
  assert.equal(await bob.unread(alice.user), 0, "unread after a reload");
});

check(
  "what is said in another room of one's list is counted there, and read by going there",
  async (stage) => {
    const [here, there] = [stage.name("here"), stage.name("there")];
    const [alice, bob] = [await stage.arrive("alice", there), await stage.arrive("bob", there)];
    await bob.say("first");
    await agree(stage.cluster, there, 1, alice, bob);
    await alice.hasRead(there);
    await alice.openRoom(here);
    await alice.joined();
    await bob.say("second", "third");
    await bob.sent();
    await alice.look();
    await until("alice has two unread messages there", async () => (await alice.unread(there)) === 2);
    await alice.openRoom(there);
    await alice.shows("third");
    await until("alice has read them", async () => (await alice.unread(there)) === 0);
  },
);

check("a notification of a service is announced, listed, and there for who comes later", async (stage) => {
  const alice = await stage.arrive("alice", stage.name("room"));
  const notify = (text: string) =>
    stage.cluster.post(`/api/users/${alice.user}/notifications`, { data: { text } });
  await notify("Your order is on its way");
  await until("a notification is unread", async () => (await alice.unreadNotifications()) === 1);
  await alice.panel("notifications");
  await alice.notification("Your order is on its way").waitFor();
  await until("it is read", async () => (await alice.unreadNotifications()) === 0);
  await alice.page.goto("about:blank");
  await notify("Your order has arrived");
  await alice.go();
  await alice.panel("notifications");
  await alice.notification("Your order has arrived").waitFor();
});

check("an announcement of a service is shown to everybody who is there", async (stage) => {
  const [alice, bob] = [
    await stage.arrive("alice", stage.name("one")),
    await stage.arrive("bob", stage.name("two")),
  ];
  await stage.cluster.post("/api/announcements", { data: { text: `Maintenance at nine ${stage.id}` } });
  for (const { page } of [alice, bob])
    await page.getByText(`Maintenance at nine ${stage.id}`).first().waitFor();
});

check("who leaves is no longer among those present, also when the node is another one", async (stage) => {
  const { cluster } = stage;
  const room = stage.name("room");
  const alice = await stage.arrive("alice", room, cluster.state ? { from: cluster.node(1) } : {});
  const bob = await stage.arrive("bob", room, cluster.state ? { from: cluster.node(2) } : {});
  await alice.present(bob.user).waitFor();
  await bob.leave();
  await alice.present(bob.user).waitFor({ state: "detached" });
});
