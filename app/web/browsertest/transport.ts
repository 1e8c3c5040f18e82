import assert from "node:assert/strict";
import { agree, inOrder, numbered } from "./agree";
import type { Person } from "./person";
import { subject } from "./runner";
import { until } from "./wait";

const check = subject("transport");

const overSSE = (person: Person) =>
  until(`${person.user}'s page says that it uses SSE`, async () => (await person.transport()) === "SSE");

check(
  "where WebSockets are refused, the page goes on over SSE, says so, and remembers it over a reload",
  async (stage) => {
    stage.rough = true; // the refused sockets
    const room = stage.name("room");
    const alice = await stage.arrive("alice", room);
    const bob = await stage.arrive("bob", room, { prepare: (b) => b.refuseSockets() });
    await overSSE(bob);
    const [hers, his] = [numbered("hers", 10), numbered("his", 10)];
    await Promise.all([alice.say(...hers), bob.say(...his)]);
    const all = await agree(stage.cluster, room, 20, alice, bob);
    inOrder(all, hers);
    inOrder(all, his);
    const refused = bob.line.refused;
    assert.ok(refused > 0, "a WebSocket was tried");
    await bob.page.reload();
    await bob.joined();
    await overSSE(bob);
    assert.equal(bob.line.refused, refused, "WebSockets that were tried after the reload");
    await alice.say("and on");
    await bob.say("it goes");
    await agree(stage.cluster, room, 22, alice, bob);
  },
);

check("where WebSockets are closed as soon as they are open, the page goes on over SSE", async (stage) => {
  stage.rough = true;
  const room = stage.name("room");
  const alice = await stage.arrive("alice", room);
  const bob = await stage.arrive("bob", room, {
    prepare: ({ page }) =>
      page.routeWebSocket(/\/ws\//, (socket) => socket.close({ code: 1006 as number, reason: "" })),
  });
  await overSSE(bob);
  await alice.say("do you hear me?");
  await bob.say("yes");
  await agree(stage.cluster, room, 2, alice, bob);
});

check("over SSE a cut line is survived as over a WebSocket", async (stage) => {
  stage.rough = true;
  const room = stage.name("room");
  const alice = await stage.arrive("alice", room);
  const bob = await stage.arrive("bob", room, { prepare: (b) => b.refuseSockets() });
  await overSSE(bob);
  await bob.say("before");
  await agree(stage.cluster, room, 1, alice, bob);
  bob.line.cut();
  await bob.away();
  const [hers, his] = [numbered("while bob is away", 5), numbered("written without a line", 3)];
  await Promise.all([alice.say(...hers), bob.say(...his)]);
  await bob.line.open();
  await bob.joined();
  const all = await agree(stage.cluster, room, 9, alice, bob);
  inOrder(all, hers);
  inOrder(all, his);
});

check(
  "over SSE a killed node is survived as over a WebSocket",
  async (stage) => {
    stage.rough = true;
    const { cluster } = stage;
    const room = await cluster.roomAt(cluster.shard(3), stage.name("room"));
    const alice = await stage.arrive("alice", room, { prepare: (a) => a.refuseSockets() });
    const bob = await stage.arrive("bob", room);
    await overSSE(alice);
    const [hers, his] = [numbered("hers", 20), numbered("his", 20)];
    const writing = Promise.all([alice.say(...hers), bob.say(...his)]);
    await until("some of it is said", async () => (await bob.texts()).length > 5);
    stage.after(() => cluster.start("ws3"));
    cluster.kill("ws3");
    await writing;
    const all = await agree(cluster, room, 40, alice, bob);
    inOrder(all, hers);
    inOrder(all, his);
  },
  { cluster: true },
);
