import { expect, it } from "vitest";
import { Samples } from "../src/series";
import type { Sample } from "../src/state";

const sample = (at: number, messages: number): Sample => ({
  at,
  connections: 0,
  streams: 0,
  rooms: 0,
  members: 0,
  away: 0,
  outbox: 0,
  messages,
  deliveries: 0,
  p50: null,
  p99: null,
});

const now = 1_795_382_728_000;
const messages = (s: Sample) => s.messages;
const column = (s: Samples, appid: string, at = now) => s.table(at, [appid], messages)[1] ?? [];

it("is ten minutes, every two seconds, with holes where a node said nothing", () => {
  const s = new Samples();
  s.add("1111", [sample(now - 20_000, 1), sample(now, 7)]);
  const [times, row] = s.table(now, ["1111"], messages);
  expect(times).toHaveLength(301);
  expect((times[300] ?? 0) - (times[0] ?? 0)).toBe(600);
  expect(row?.filter((v) => v !== null)).toEqual([1, 7]);
  expect(row?.[300]).toBe(7);
  expect(row?.[290]).toBe(1);
});

it("has a column for each node, also for one that it has never heard", () => {
  const s = new Samples();
  s.add("1111", [sample(now, 1)]);
  s.add("2222", [sample(now - 1000, 2)]);
  const [, one, two, three] = s.table(now, ["1111", "2222", "3333"], messages);
  expect([one?.[300], two?.[299], three?.every((v) => v === null)]).toEqual([1, 2, true]);
});

it("counts a sample once, however often it is told", () => {
  const s = new Samples();
  for (let i = 0; i < 5; i++) s.add("1111", [sample(now, 7)]);
  expect(column(s, "1111").filter((v) => v !== null)).toEqual([7]);
});

it("takes in a history that comes after the first samples", () => {
  const s = new Samples();
  s.add("1111", [sample(now, 7)]);
  s.add("1111", [sample(now - 4000, 5), sample(now - 2000, 6)]);
  expect(column(s, "1111").slice(-3)).toEqual([5, 6, 7]);
});

it("bridges the hole that two samples in one slot leave, and no longer one", () => {
  const s = new Samples();
  s.add("1111", [sample(now - 4000, 1), sample(now, 3)]);
  expect(column(s, "1111").slice(-3)).toEqual([1, 1, 3]);
  s.add("2222", [sample(now - 6000, 1), sample(now, 3)]);
  expect(column(s, "2222").slice(-4)).toEqual([1, null, null, 3]);
});

it("forgets what is older than ten minutes", () => {
  const s = new Samples();
  s.add("1111", [sample(now, 1)]);
  for (let i = 1; i <= 1000; i++) s.add("1111", [sample(now + i * 2000, 2)]);
  expect(column(s, "1111").filter((v) => v !== null)).toEqual([]);
  expect(column(s, "1111", now + 2_000_000).filter((v) => v !== null)).toHaveLength(301);
});

it("leaves out the sample that a node has not taken yet", () => {
  const s = new Samples();
  s.add("1111", [sample(0, 9)]);
  expect(column(s, "1111").every((v) => v === null)).toBe(true);
});
