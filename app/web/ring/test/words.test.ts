import { describe, expect, it } from "vitest";
import type { Node, Seen, State } from "../src/state";
import {
  bytes,
  clock,
  eventTone,
  haproxyWord,
  millis,
  number,
  percent,
  redisWord,
  span,
  standing,
} from "../src/words";

const now = 1_795_382_728_000;

const node = (change: Partial<Node> = {}): Node => ({
  appid: "1111",
  version: "test",
  started: now - 60_000,
  now,
  draining: false,
  redis: { ok: true, since: now - 50_000 },
  at: now,
  connections: 1,
  streams: 0,
  rooms: 1,
  members: 1,
  away: 0,
  outbox: 0,
  messages: 0,
  deliveries: 0,
  p50: null,
  p99: null,
  ...change,
});

const seen = (change: Partial<Seen> = {}): Seen => ({
  appid: "1111",
  address: "http://node1",
  asked: true,
  answers: true,
  since: now - 12_000,
  problem: "",
  node: node(),
  server: { name: "ws1", status: "UP", on: true, why: "", since: now - 70_000 },
  on: true,
  share: 1,
  full: 1,
  ...change,
});

const state = (nodes: Seen[] = [], change: Partial<State> = {}): State => ({
  now,
  by: "1111",
  alone: false,
  nodes,
  haproxy: { asked: true, answers: true, since: now - 5000, problem: "" },
  ring: { ids: ["1111"], now: "0", full: "0", assumed: false },
  events: [],
  ...change,
});

describe("figures", () => {
  it("stay short", () => {
    expect([0, 0.5, 12.34, 99.99, 940, 9999, 12_345, 123_456, 4_500_000].map(number)).toEqual([
      "0",
      "0.5",
      "12.3",
      "100",
      "940",
      "9999",
      "12.3k",
      "123k",
      "4.5M",
    ]);
    expect([0, 999, 12_300, 4_500_000, 2e9].map(bytes)).toEqual([
      "0 B",
      "999 B",
      "12.3 kB",
      "4.5 MB",
      "2 GB",
    ]);
    expect([null, 0, 0.52, 9.96, 47.4, 661.3, 1234].map(millis)).toEqual([
      "–",
      "0 ms",
      "0.5 ms",
      "10.0 ms",
      "47 ms",
      "661 ms",
      "1.2 s",
    ]);
    expect(percent(0.25273)).toBe("25.3 %");
  });

  it("tell times in words", () => {
    expect([-5, 400, 12_000, 59_400, 60_000, 3_599_000, 3_600_000, 7_500_000, 4e8].map(span)).toEqual([
      "0 s",
      "0 s",
      "12 s",
      "59 s",
      "1 min",
      "59 min",
      "1 h",
      "2 h 5 min",
      "4 d",
    ]);
  });

  it("name the day only if it is another", () => {
    const noon = new Date(2026, 10, 22, 12, 0, 5).getTime();
    expect(clock(noon, noon + 1000)).toBe("12:00:05");
    expect(clock(noon, noon + 86_400_000)).toBe("22 Nov 12:00:05");
  });
});

describe("a node's standing", () => {
  const down = { name: "ws1", status: "DOWN", on: false, why: "HAProxy finds it down", since: now - 3000 };
  it.each([
    ["all is well", seen(), "good", "on the ring", ""],
    [
      "it is dead",
      seen({ answers: false, problem: "nobody listens there", server: down, on: false }),
      "bad",
      "silent",
      "Does not answer for 12 s: nobody listens there.",
    ],
    [
      "HAProxy alone finds it down",
      seen({ server: down, on: false }),
      "bad",
      "off the ring",
      "HAProxy finds it down for 3 s.",
    ],
    [
      "it says that it drains",
      seen({ node: node({ draining: true }) }),
      "warn",
      "drains",
      "Takes nobody more; its members go elsewhere.",
    ],
    [
      "it has no Redis",
      seen({ node: node({ redis: { ok: false, since: now - 2000, why: "it does not answer" } }) }),
      "bad",
      "no Redis",
      "Has no Redis for 2 s: it does not answer.",
    ],
    [
      "it has members of others",
      seen({ node: node({ away: 2 }) }),
      "good",
      "on the ring",
      "2 rooms here are at home elsewhere; the members are led there.",
    ],
    ["it serves other modules", seen({ server: null, on: false }), "none", "not on the ring", ""],
    [
      "nobody was told its address",
      seen({ asked: false, answers: false, node: null }),
      "good",
      "on the ring",
      "Not in ring.nodes: only HAProxy knows of it.",
    ],
  ])("when %s", (_, n, tone, word, detail) => {
    expect(standing(n, state([n]))).toEqual({ tone, word, detail });
  });
});

describe("what nodes need", () => {
  it("is heard by all, lost by some, or lost", () => {
    const without = (since: number) => seen({ node: node({ redis: { ok: false, since } }) });
    expect(redisWord(state([seen(), seen()]))).toEqual({ tone: "good", word: "heard by all" });
    expect(redisWord(state([seen(), without(now - 9000)]))).toEqual({
      tone: "bad",
      word: "lost by 1 of 2 for 9 s",
    });
    expect(redisWord(state([without(now - 9000), without(now - 7000)]))).toEqual({
      tone: "bad",
      word: "lost for 9 s",
    });
    expect(redisWord(state([seen({ node: node({ redis: null }) })]))).toEqual({
      tone: "none",
      word: "not used",
    });
    expect(redisWord(state([seen({ answers: false })]))).toEqual({ tone: "none", word: "unknown" });
  });

  it("is HAProxy, if its address is known", () => {
    expect(haproxyWord(state()).word).toBe("answers");
    const lost = { asked: true, answers: false, since: now - 4000, problem: "nobody listens there" };
    expect(haproxyWord(state([], { haproxy: lost }))).toEqual({
      tone: "bad",
      word: "nobody listens there, for 4 s",
    });
    expect(haproxyWord(state([], { haproxy: { ...lost, asked: false } })).word).toBe("not asked");
  });
});

it("bad news look bad, good news good", () => {
  expect(["silent", "split", "redis_back", "started"].map(eventTone)).toEqual([
    "bad",
    "warn",
    "good",
    "none",
  ]);
});
