import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { compare, type Room } from "../src/index.js";
import { type Socket, Stage, tick } from "./stage.js";

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 });
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const SEEDS = 30; // each is another life

type Json = Record<string, unknown>;
type Said = { pos: string; from: string; key: string; ts: number; data: unknown };

/** A number generator that gives the same numbers for the same seed. */
function drawing(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A cluster with one room, which keeps to docs/protocol.md and is as unkind as that allows. */
class Cluster {
  log: Said[] = [];
  #epoch = 1;
  #offset = 0;
  #ts = 0;
  #socket: Socket | undefined;
  #commands: Json[] = [];
  #pushes: Json[] = []; // on their way to the client
  #replies: Json[] = [];
  #in = false; // the client is in the room

  constructor(
    readonly draw: () => number,
    readonly stage: Stage,
  ) {
    this.append("bob", "before", 0);
  }

  chance = (p: number) => this.draw() < p;
  #some = (n: number) => Math.floor(this.draw() * n);

  append(from: string, key: string, data: unknown, ts = ++this.#ts): string {
    const known = this.log.find((one) => one.from === from && one.key === key);
    if (known) return known.pos;
    const pos = `${this.#epoch}-${this.#offset++}`;
    this.log.push({ pos, from, key, ts, data });
    if (this.#in) this.#pushes.push(this.#message(this.log.length - 1));
    return pos;
  }

  /** The log loses its tail, and a node that has it all appends that again. */
  rewind(): void {
    const lost = this.log.splice(Math.max(1, this.log.length - 1 - this.#some(4)));
    const last = lost.at(-1);
    if (!last) return;
    this.#epoch++;
    this.#offset = 0;
    if (this.#in)
      this.#pushes.push({ push: "reset", room: "lobby", lost: last.pos, pos: `${this.#epoch}-0` });
    for (const { from, key, data, ts } of lost) this.append(from, key, data, ts);
  }

  cut(): Promise<void> | undefined {
    const socket = this.#socket;
    for (const command of this.#commands) if (this.chance(0.5)) this.#carryOut(command); // but nobody hears of it
    this.#forget();
    return socket?.ends(this.chance(0.5) ? 1006 : 1001);
  }

  #forget(): void {
    this.#socket = undefined;
    this.#in = false;
    this.#commands = [];
    this.#pushes = [];
    this.#replies = [];
  }

  /** Something small happens. */
  step(): void {
    const newest = this.stage.sockets.at(-1);
    if (newest?.closed) this.#forget();
    else if (newest && newest !== this.#socket) this.#welcome(newest);
    const socket = this.#socket;
    if (!socket) return;
    this.#commands.push(...socket.commands.splice(0));
    const ways = [
      () => {
        const command = this.#commands.shift();
        if (command) this.#replies.push(this.#carryOut(command));
      },
      () => {
        for (let n = 1 + this.#some(3); n > 0; n--) this.#to(socket, this.#pushes);
      },
      () => this.#to(socket, this.#replies),
    ];
    ways[this.#some(3)]?.();
  }

  get idle(): boolean {
    return (
      Boolean(this.#socket && this.#in) &&
      !this.#pushes.length &&
      !this.#replies.length &&
      !this.#commands.length
    );
  }

  #to(socket: Socket, queue: Json[]): void {
    const frame = queue.shift();
    if (frame) socket.push(frame);
  }

  #welcome(socket: Socket): void {
    this.#forget();
    this.#socket = socket;
    socket.hello();
    this.#join(new URL(socket.url).searchParams.get("since"));
  }

  #join(since: string | null): void {
    const at = this.log.findIndex(({ pos }) => pos === since);
    const recovered = at >= 0 && this.chance(0.6);
    const missed = recovered ? this.log.length - 1 - at : 0;
    const pos = this.log.at(-1)?.pos;
    this.#pushes.push({ push: "joined", room: "lobby", pos, recovered, missed });
    for (let i = this.log.length - missed; i < this.log.length; i++) this.#pushes.push(this.#message(i));
    this.#in = true;
  }

  #message = (i: number): Json => ({ push: "message", room: "lobby", ...this.log[i] });

  #carryOut({ id, cmd, key, data, after, limit }: Json): Json {
    const temporary = { code: "unavailable", message: "", temporary: true, retry_after_ms: 1000 };
    if (cmd === "publish") {
      if (this.chance(0.1)) return { id, error: temporary };
      const pos = this.append("alice", key as string, data);
      return this.chance(0.1) ? { id, error: temporary } : { id, ok: { pos } };
    }
    if (cmd === "history") {
      if (this.chance(0.1)) return { id, error: temporary };
      const most = Math.min(limit as number, 8);
      const all = this.log.map((_, i) => this.#message(i));
      const found =
        after === undefined ? all : all.filter(({ pos }) => compare(pos as string, after as string) > 0);
      const messages = after === undefined ? found.slice(-most) : found.slice(0, most);
      return { id, ok: { messages, more: found.length > messages.length } };
    }
    return { id, ok: {} };
  }
}

/** A room's life under faults, and then peace. */
async function live(
  seed: number,
  rewinds: boolean,
): Promise<{ cluster: Cluster; room: Room; stage: Stage; said: string[]; sent: string[] }> {
  const draw = drawing(seed);
  vi.spyOn(Math, "random").mockImplementation(draw);
  const stage = new Stage();
  const cluster = new Cluster(draw, stage);
  const room = stage.room("lobby", { history: 0 }, "pending", "state");
  room.join();
  while (room.state !== "joined") {
    cluster.step();
    await tick(10);
  }
  const said: string[] = [];
  const sent: string[] = [];
  for (let i = 0; i < 400; i++) {
    const { chance } = cluster;
    if (chance(0.08)) cluster.append("bob", `b${i}`, i);
    if (chance(0.06)) {
      const key = `a${i}`;
      said.push(key);
      room.send(i, { key }).then(() => sent.push(key));
    }
    if (chance(0.05)) await cluster.cut();
    if (rewinds && chance(0.03)) cluster.rewind();
    for (let n = 1 + 5 * Number(chance(0.2)); n > 0; n--) cluster.step();
    await tick(chance(0.1) ? 300 : 10);
  }
  for (let quiet = 0; quiet < 30; quiet = cluster.idle && sent.length === said.length ? quiet + 1 : 0) {
    cluster.step();
    await tick(100);
  }
  return { cluster, room, stage, said, sent };
}

const heard = (stage: Stage) =>
  stage.heard
    .filter((line) => line.startsWith("lobby message"))
    .map((line) => / from=(\S+ key=\S+)/.exec(line)?.[1]);

const names = (log: Said[]) => log.slice(1).map(({ from, key }) => `${from} key=${key}`);

test("whatever breaks, all is heard, once and in order, and all that is sent is said, once and in order", async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { cluster, room, stage, said, sent } = await live(seed, false);
    expect(heard(stage), `seed ${seed}`).toEqual(names(cluster.log));
    expect(
      cluster.log.filter(({ from }) => from === "alice").map(({ key }) => key),
      `seed ${seed}`,
    ).toEqual(said);
    expect(sent, `seed ${seed}`).toEqual(said);
    expect(room.pending, `seed ${seed}`).toEqual([]);
    expect(room.position).toBe(cluster.log.at(-1)?.pos);
    expect(stage.hears("lobby gap"), `seed ${seed}`).toEqual([]);
    stage.chat.disconnect();
  }
}, 120_000);

test("whatever a log loses and gets back, all is heard, each once", async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { cluster, room, stage, said, sent } = await live(seed, true);
    expect(heard(stage).sort(), `seed ${seed}`).toEqual(names(cluster.log).sort());
    expect(sent, `seed ${seed}`).toEqual(said);
    expect(room.pending, `seed ${seed}`).toEqual([]);
    expect(room.position).toBe(cluster.log.at(-1)?.pos);
    stage.chat.disconnect();
  }
}, 120_000);
