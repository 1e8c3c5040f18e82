import { expect, test } from "vitest";
import type { Message } from "../../sdk/src";
import { type Row, rows } from "../src/rows";
import * as timeline from "../src/timeline";

const NOON = new Date(2026, 10, 21, 12).getTime();
const MINUTE = 60_000;

const said = (offset: number, from: string, ts: number): Message => ({
  room: "lobby",
  pos: `7-${offset}`,
  from,
  key: `k${offset}`,
  ts,
  data: "hi",
  recovered: false,
});

const of = (...messages: Message[]) => messages.reduce((t, m) => timeline.live(t, m, "me"), timeline.nothing);

const plain = (row: Row) => {
  if (row.kind === "entry") return `${row.headless ? "" : `${row.entry.from}: `}${row.entry.key}`;
  if (row.kind === "draft") return `${row.headless ? "" : `${row.draft.from}: `}${row.draft.key}…`;
  return row.kind;
};

test("each day begins with a line, and those who go on soon have no second head", () => {
  const t = of(
    said(0, "ada", NOON),
    said(1, "ada", NOON + MINUTE),
    said(2, "ben", NOON + 2 * MINUTE),
    said(3, "ben", NOON + 20 * MINUTE),
    said(4, "ben", NOON + 24 * 60 * MINUTE),
  );
  expect(rows(t, "me").map(plain)).toEqual(["day", "ada: k0", "k1", "ben: k2", "ben: k3", "day", "ben: k4"]);
});

test("the line above what is unread stands once, before the first message of somebody else", () => {
  const t = of(said(0, "ada", NOON), said(1, "me", NOON), said(2, "ada", NOON), said(3, "ada", NOON));
  expect(rows(t, "me", "7-0").map(plain)).toEqual(["day", "ada: k0", "me: k1", "unread", "ada: k2", "k3"]);
  expect(rows(t, "me", "7-3").map(plain)).not.toContain("unread");
  expect(rows(t, "me").map(plain)).not.toContain("unread");
});

test("marks stand behind the position that they are about, and drafts behind all", () => {
  let t = of(said(0, "ada", NOON), said(5, "ada", NOON));
  t = timeline.gap(t, { after: "7-0", before: "7-5" });
  t = timeline.served(t, "1111", "2222", "7-5");
  t = timeline.draft(t, { key: "d", from: "me", ts: NOON, data: "hm", state: "queued" });
  expect(rows(t, "me").map(plain)).toEqual(["day", "ada: k0", "mark", "ada: k5", "mark", "me: d…"]);
});

test("an answer has a head of its own", () => {
  const answer = { ...said(1, "ada", NOON), replyTo: { pos: "7-0", from: "ada", key: "k0", ts: NOON } };
  expect(rows(of(said(0, "ada", NOON), answer), "me").map(plain)).toEqual(["day", "ada: k0", "ada: k1"]);
});

test("every row has a name of its own", () => {
  const t = of(said(0, "ada", NOON), said(1, "ben", NOON), said(2, "ada", NOON + 48 * 60 * MINUTE));
  const ids = rows(t, "me", "7-0").map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
});
