import assert from "node:assert/strict";
import WebSocket from "ws";
import { Chat, type Message, type Room, type TransportName } from "../sdk/src/index";
import type { Cluster, Logged } from "./cluster";
import { type Stage, subject } from "./runner";
import { PATIENCE, until } from "./wait";

const check = subject("programs");

const PACE = 40; // milliseconds from a program's message to its next one

// A Program is what a developer writes for Node: it stands on the SDK, and says numbers in
// several rooms, one after the other.
class Program {
  readonly heard = new Map<string, Message[]>();
  readonly acknowledged: { room: string; key: string; pos: string }[] = [];
  readonly troubles: string[] = [];
  joins = 0;
  readonly #user: string;
  readonly #chat: Chat;
  readonly #rooms: Room[];
  #said = 0;
  #talking = true;

  constructor(cluster: Cluster, user: string, transport: TransportName, dedicated: boolean, rooms: string[]) {
    this.#user = user;
    this.#chat = new Chat(cluster.url, { user, transport, WebSocket, storage: null, maxDelay: 2_000 });
    this.#chat.on("state", ({ final, reason }) => {
      if (final) this.troubles.push(`${user} is out for good: ${reason}`);
    });
    this.#rooms = rooms.map((name) => {
      const room = this.#chat.room(name, { dedicated, history: 0 });
      const heard: Message[] = [];
      this.heard.set(name, heard);
      room.on("state", ({ state }) => {
        if (state === "joined") this.joins++;
      });
      room.on("message", (message) => heard.push(message));
      room.on("gap", ({ after, before }) =>
        this.troubles.push(`${user}: gap in ${name}, ${after} to ${before}`),
      );
      room.on("reset", ({ lost, pos }) => this.troubles.push(`${user}: reset of ${name}, ${lost} to ${pos}`));
      return room;
    });
  }

  async join(): Promise<void> {
    await Promise.all(this.#rooms.map((room) => room.join()));
  }

  async talk(): Promise<void> {
    for (let n = 0; this.#talking; n++) {
      const room = this.#rooms[n % this.#rooms.length] as Room;
      this.#said++;
      room.send(`${n}`).then(
        ({ key, pos }) => this.acknowledged.push({ room: room.name, key, pos }),
        (error) => this.troubles.push(`${this.#user}: ${n} in ${room.name}: ${error}`),
      );
      await new Promise((done) => setTimeout(done, PACE));
    }
  }

  // quiet stops talking, and resolves when all that was said is answered.
  async quiet(): Promise<void> {
    this.#talking = false;
    const answered = () => this.acknowledged.length + this.troubles.length >= this.#said;
    await until(`all that ${this.#user} has said is answered`, answered, 3 * PATIENCE);
  }

  leave(): void {
    this.#talking = false;
    this.#chat.disconnect();
  }

  // checkAgainst compares what was heard in a room, and what was acknowledged, with its log.
  checkAgainst(room: string, log: Logged[]): void {
    const heard = (this.heard.get(room) as Message[]).map(({ pos, key }) => `${pos} ${key}`);
    const logged = log.map(({ pos, key }) => `${pos} ${key}`);
    const lost = this.acknowledged.filter((a) => a.room === room && !logged.includes(`${a.pos} ${a.key}`));
    assert.deepEqual(lost, [], `acknowledged to ${this.#user}, and not in the log of ${room}`);
    assert.deepEqual(heard, logged, `what ${this.#user} has heard in ${room}, beside its log`);
  }
}

const KINDS: [string, TransportName, boolean][] = [
  ["socket", "websocket", false],
  ["sockets", "websocket", true],
  ["stream", "sse", false],
  ["streams", "sse", true],
];

// What is done to the cluster, in turns. What has ended is started again.
const FAULTS = [
  ["kill", "ws1"],
  ["drain", "ws2"],
  ["kill", "redis"],
  ["kill", "ws3"],
] as const;

check(
  "programs talk over sockets and streams while nodes and Redis die and drain: each hears all, once, in order",
  async (stage) => {
    const { cluster } = stage;
    const end = Date.now() + 60_000 * Number(process.env.MINUTES || 0);
    const total = { faults: 0, joins: 0, messages: 0, deliveries: 0 };
    for (let round = 1; round === 1 || Date.now() < end; round++) {
      const rooms = await Promise.all(
        cluster.nodes.map((n) => cluster.roomAt(cluster.shard(n), stage.name(`room${round}`))),
      );
      const programs = await conversation(stage, rooms, async (programs) => {
        for (const [fault, part] of FAULTS) {
          await cluster[fault](part);
          await cluster.start(part);
          await allAreHeard(programs, rooms, `${fault} ${part}`);
        }
      });
      total.faults += FAULTS.length;
      for (const { joins, acknowledged, heard } of programs) {
        total.joins += joins;
        total.messages += acknowledged.length;
        for (const messages of heard.values()) total.deliveries += messages.length;
      }
    }
    stage.say(
      `${total.faults} faults, ${total.joins} joins, ${total.messages} messages acknowledged; ` +
        `${total.deliveries} deliveries, which are those of the logs`,
    );
  },
  { cluster: true },
);

check(
  "programs speak in a room whose home takes no more connections, over sockets and streams",
  async (stage) => {
    const { cluster } = stage;
    const full = 2;
    const room = await cluster.roomAt(cluster.shard(full), stage.name("room"));
    await fill(stage, cluster.node(full));
    await conversation(stage, [room], (programs) => allAreHeard(programs, [room], "the home is full"));
  },
  { cluster: true },
);

// fill opens sockets at a node until it takes no more (gateway.max_connections).
async function fill(stage: Stage, node: string): Promise<void> {
  for (let n = 0, taken = true; taken; n++) {
    if (n > 1_000) throw new Error(`${node} takes more than 1,000 connections`);
    const socket = new WebSocket(`${node.replace("http", "ws")}/ws/inbox?user=filler${n % 8}`);
    stage.after(() => socket.terminate());
    taken = await new Promise((done, fail) => {
      socket.on("open", () => done(true));
      socket.on("unexpected-response", (_, answer) => done(answer.statusCode !== 503));
      socket.on("error", fail);
    });
  }
}

// conversation has programs of all kinds talk in rooms until something else has happened,
// and compares what they have heard, and what was acknowledged, with the logs.
async function conversation(
  stage: Stage,
  rooms: string[],
  meanwhile: (programs: Program[]) => Promise<void>,
): Promise<Program[]> {
  const programs = KINDS.map(([word, transport, dedicated]) => {
    const program = new Program(stage.cluster, stage.name(word), transport, dedicated, rooms);
    stage.after(() => program.leave());
    return program;
  });
  await Promise.all(programs.map((program) => program.join()));
  const talking = programs.map((program) => program.talk());
  await meanwhile(programs);
  await Promise.all(programs.map((program) => program.quiet()));
  await Promise.all(talking);

  let messages = 0;
  for (const room of rooms) {
    const log = await stage.cluster.log(room);
    messages += log.length;
    await until(`all of ${room} is heard`, () =>
      programs.every(({ heard }) => (heard.get(room)?.length ?? 0) >= log.length),
    );
    assert.equal(new Set(log.map(({ from, key }) => `${from} ${key}`)).size, log.length, "keys in the log");
    for (const program of programs) program.checkAgainst(room, log);
    ownOrder(log);
  }
  const troubles = programs.flatMap((program) => program.troubles);
  assert.deepEqual(troubles, []);
  const acknowledged = programs.reduce((sum, program) => sum + program.acknowledged.length, 0);
  assert.equal(messages, acknowledged, "messages in the logs, and acknowledged");
  for (const program of programs) program.leave();
  return programs;
}

// allAreHeard waits until everybody hears everybody in every room again.
async function allAreHeard(programs: Program[], rooms: string[], what: string): Promise<void> {
  const since = Date.now();
  for (const program of programs)
    for (const room of rooms)
      await until(
        `after "${what}" everybody is heard in ${room}`,
        () => {
          const fresh = (program.heard.get(room) as Message[]).filter(({ ts }) => ts > since);
          return new Set(fresh.map(({ from }) => from)).size === programs.length;
        },
        3 * PATIENCE,
      );
}

// ownOrder: what one program has said stands in the order in which it was said.
function ownOrder(log: Logged[]): void {
  const last = new Map<string, number>();
  for (const { from, data } of log) {
    const n = Number((data as { text: string }).text);
    assert.ok(n > (last.get(from) ?? -1), `${n} of ${from} stands behind ${last.get(from)}`);
    last.set(from, n);
  }
}
