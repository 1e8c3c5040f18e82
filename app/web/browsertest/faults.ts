import assert from "node:assert/strict";
import { agree, inOrder, numbered } from "./agree";
import { subject } from "./runner";
import { until } from "./wait";

const check = subject("faults");

check("a reload in the middle of a burst loses nothing", async (stage) => {
  stage.rough = true; // the page that goes breaks off what it was doing
  const room = stage.name("room");
  const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
  const [hers, his] = [numbered("hers", 30), numbered("his", 5)];
  const writing = alice.say(...hers);
  await bob.say(...his);
  await bob.shows("hers 5");
  await bob.page.reload();
  await writing;
  inOrder(await agree(stage.cluster, room, 35, alice, bob), hers);
});

check("the writer's own reload loses nothing, and doubles nothing", async (stage) => {
  stage.rough = true;
  const room = stage.name("room");
  const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
  const lines = numbered("in haste", 10);
  await alice.say(...lines);
  await alice.page.reload(); // some are not answered yet
  await alice.joined();
  inOrder(await agree(stage.cluster, room, 10, alice, bob), lines);
});

check("a cut line is said; what was written meanwhile arrives once", async (stage) => {
  stage.rough = true;
  const room = stage.name("room");
  const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
  bob.line.cut();
  await bob.counting();
  const [hers, his] = [numbered("while bob is away", 5), numbered("written without a line", 3)];
  await Promise.all([alice.say(...hers), bob.say(...his)]);
  assert.equal(await bob.pending(), 3, "messages that wait");
  await bob.line.open();
  await bob.joined();
  const all = await agree(stage.cluster, room, 8, alice, bob);
  inOrder(all, hers);
  inOrder(all, his);
});

check("offline is said at once, with a countdown; retry now comes back at once", async (stage) => {
  stage.rough = true;
  const room = stage.name("room");
  const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
  bob.line.cut();
  await bob.context.setOffline(true);
  await bob.away();
  await bob.say("written offline");
  await alice.say("said meanwhile");
  await bob.context.setOffline(false);
  await bob.counting();
  await bob.line.open();
  await bob.retryNow().click();
  await bob.joined();
  await agree(stage.cluster, room, 2, alice, bob);
});

check(
  "what was written offline is sent once the line is back, though another room is open by then",
  async (stage) => {
    stage.rough = true;
    const [room, other] = [stage.name("room"), stage.name("other")];
    const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
    bob.line.cut();
    await bob.context.setOffline(true);
    await bob.away();
    await bob.say("see you there");
    await bob.typeRoom(other);
    await bob.context.setOffline(false);
    await bob.line.open();
    await alice.shows("see you there");
    await bob.typeRoom(room);
    await agree(stage.cluster, room, 1, alice, bob);
    assert.equal(await bob.pending(), 0, "messages that wait");
  },
);

check("a lost answer doubles nothing", async (stage) => {
  stage.rough = true;
  const room = stage.name("room");
  const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
  bob.line.deaf = true;
  await bob.say("did you hear me?");
  await alice.shows("did you hear me?");
  assert.equal(await bob.pending(), 1, "messages that wait");
  bob.line.cut();
  await bob.away();
  await bob.line.open();
  await bob.joined();
  await agree(stage.cluster, room, 1, alice, bob);
});

check("messages without an answer survive a reload, sent or not", async (stage) => {
  stage.rough = true;
  const room = stage.name("room");
  const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
  bob.line.deaf = true;
  await bob.say("sent before the reload");
  await alice.shows("sent before the reload");
  bob.line.cut();
  await bob.away();
  await bob.say("not even sent");
  assert.equal(await bob.pending(), 2, "messages that wait");
  await bob.line.open();
  await bob.page.reload();
  await bob.joined();
  inOrder(await agree(stage.cluster, room, 2, alice, bob), ["sent before the reload", "not even sent"]);
});

check(
  "a node is killed while two write: nothing is lost, doubled or out of order, and the footer names another node",
  async (stage) => {
    stage.rough = true;
    const { cluster } = stage;
    const room = await cluster.roomAt(cluster.shard(2), stage.name("room"));
    const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
    await alice.servedBy(cluster.shard(2));
    const [hers, his] = [numbered("hers", 40), numbered("his", 40)];
    const writing = Promise.all([alice.say(...hers), bob.say(...his)]);
    await until("some of it is said", async () => (await alice.texts()).length > 10);
    stage.after(() => cluster.start("ws2"));
    cluster.kill("ws2");
    await writing;
    const all = await agree(cluster, room, 80, alice, bob);
    inOrder(all, hers);
    inOrder(all, his);
    for (const person of [alice, bob])
      await until("another node serves the room", async () => (await person.shard()) !== cluster.shard(2));
  },
  { cluster: true },
);

check(
  "a node that is back gets its rooms again, and nobody misses anything",
  async (stage) => {
    stage.rough = true;
    const { cluster } = stage;
    const room = await cluster.roomAt(cluster.shard(2), stage.name("room"));
    cluster.kill("ws2");
    const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
    const [hers, his] = [numbered("hers", 20), numbered("his", 20)];
    const writing = Promise.all([alice.say(...hers), bob.say(...his)]);
    await cluster.start("ws2");
    await writing;
    await alice.servedBy(cluster.shard(2));
    await bob.servedBy(cluster.shard(2));
    await alice.say("at home again");
    const all = await agree(cluster, room, 41, alice, bob);
    inOrder(all, hers);
    inOrder(all, his);
  },
  { cluster: true },
);

check(
  "Redis is killed: what is said meanwhile waits, and is said once it is back",
  async (stage) => {
    stage.rough = true;
    const { cluster } = stage;
    const room = stage.name("room");
    const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
    await alice.say("before");
    await agree(cluster, room, 1, alice, bob);
    cluster.kill("redis");
    const lines = numbered("without a log", 3);
    await alice.say(...lines);
    assert.equal(await alice.pending(), 3, "messages that wait");
    await cluster.start("redis");
    inOrder(await agree(cluster, room, 4, alice, bob), lines);
  },
  { cluster: true },
);
