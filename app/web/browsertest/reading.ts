import assert from "node:assert/strict";
import { agree, numbered } from "./agree";
import { subject } from "./runner";
import { until } from "./wait";

const check = subject("reading");

check(
  "whoever comes later reads what was said; older messages come by scrolling, and the place is kept",
  async (stage) => {
    const room = stage.name("room");
    const all = numbered("line", 130);
    for (const text of all) await stage.cluster.post(`/api/rooms/${room}/messages`, { data: { text } });
    const alice = await stage.arrive("alice", room);
    await alice.shows("line 130");
    await alice.inView("line 130");
    assert.ok((await alice.texts()).length < 130, "a first page is not everything");
    for (let known = (await alice.texts()).length; known < 130; ) {
      const kept = await alice.toTop();
      known = await until("older messages are there", async () => {
        const n = (await alice.texts()).length;
        return n > known && n;
      });
      await until(
        () => `"${kept.text}" stays where it was, ${kept.top} px from the top`,
        async () => Math.abs((await alice.topOf(kept.text)) - kept.top) < 3,
      );
    }
    await agree(stage.cluster, room, 130, alice);
    await alice.beginning().waitFor();
  },
);

check("a wheel over the messages scrolls them, up to the first one", async (stage) => {
  const room = stage.name("room");
  for (const text of numbered("line", 130))
    await stage.cluster.post(`/api/rooms/${room}/messages`, { data: { text } });
  const alice = await stage.arrive("alice", room);
  await alice.shows("line 130");
  await until("line 1 is there", async () => {
    await alice.wheel(-300);
    return (await alice.texts()).includes("line 1");
  });
});

check(
  "who reads what is old is not moved by what is new, is told of it, and goes there by a button",
  async (stage) => {
    const room = stage.name("room");
    const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
    await bob.say(...numbered("line", 40));
    await agree(stage.cluster, room, 40, alice, bob);
    const kept = await alice.toTop();
    await bob.say("something new");
    await alice.toLatest().waitFor();
    assert.ok(Math.abs((await alice.topOf(kept.text)) - kept.top) < 3, "the place is kept");
    await alice.toLatest().click();
    await alice.inView("something new");
  },
);

check("days are told apart", async (stage) => {
  const room = stage.name("room");
  const DAY = 86_400_000;
  const bob = await stage.arrive("bob", room);
  await bob.say("long ago", "the day before", "today");
  await agree(stage.cluster, room, 3, bob);
  const alice = await stage.arrive("alice", room, {
    // The log's clock cannot be turned back: what is said of it on the way can.
    prepare: ({ page }) =>
      page.routeWebSocket(/\/ws\//, (socket) => {
        const server = socket.connectToServer();
        socket.onMessage((message) => server.send(message));
        server.onMessage((message) => {
          const back = (ago: number) => (m: string) =>
            m.replace(/"ts":(\d+)/, (_, ts) => `"ts":${Number(ts) - ago}`);
          const parts = String(message).split(/(?=\{"push":"message")/);
          const moved = parts.map((part) =>
            part.includes("long ago")
              ? back(9 * DAY)(part)
              : part.includes("the day before")
                ? back(DAY)(part)
                : part,
          );
          socket.send(moved.join(""));
        });
      }),
  });
  await alice.shows("today");
  const days = await alice.days();
  assert.equal(days.length, 3, days.join(" | "));
  assert.match(days[1] ?? "", /yesterday/i);
  assert.match(days[2] ?? "", /today/i);
});

check("another room is another conversation; its address leads there, and back leads back", async (stage) => {
  const [one, two] = [stage.name("one"), stage.name("two")];
  const alice = await stage.arrive("alice", one);
  await alice.say("in the first");
  await agree(stage.cluster, one, 1, alice);
  await alice.hasRead(one);
  await alice.typeRoom(two);
  await alice.joined();
  await alice.empty().waitFor();
  await alice.listed(one).waitFor(); // a room that was read stays on the list
  assert.equal(new URL(alice.page.url()).hash, `#${two}`);
  await alice.page.goBack();
  await alice.shows("in the first");
  await alice.openRoom(two);
  await alice.empty().waitFor();
});

check("a name or a room that cannot be does not leave the page", async (stage) => {
  const alice = await stage.arrive("alice", stage.name("room"));
  for (const wrong of ["a/b", "-", "ä", `${"x".repeat(64)}/`])
    assert.notEqual(await alice.wrongRoom(wrong), "", wrong);
  for (const wrong of ["bell\u0007", "\u202Eevil", "é".repeat(65)])
    assert.notEqual(await alice.wrongName(wrong), "", wrong);
  await alice.joined();
});

check("an own message shows that it is in the log, and the footer shows the room's shard", async (stage) => {
  const room = stage.name("room");
  const alice = await stage.arrive("alice", room);
  await alice.say("where am I?");
  await agree(stage.cluster, room, 1, alice);
  assert.equal(await alice.shard(), await stage.cluster.home(room));
});

check("a long message is said whole", async (stage) => {
  const room = stage.name("room");
  const alice = await stage.arrive("alice", room);
  const long = "word ".repeat(2_400).trim();
  await alice.composer().focus();
  await alice.page.keyboard.insertText(long); // as pasted
  await alice.composer().press("Enter");
  await alice.shows(/^word/);
  assert.deepEqual(await alice.texts(), [long]);
});

check("a message that is too long is not sent, which is said, and stays in the field", async (stage) => {
  const alice = await stage.arrive("alice", stage.name("room"));
  const long = "\u0007".repeat(4000); // six bytes each on the wire
  await alice.say(long);
  await alice.page.getByRole("alert").getByText("too long").waitFor();
  assert.equal(await alice.composer().inputValue(), long);
  assert.deepEqual(await alice.texts(), []);
});
