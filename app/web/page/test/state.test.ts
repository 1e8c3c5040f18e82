import { beforeEach, expect, test, vi } from "vitest";
import type { Message, RoomEntry } from "../../sdk/src";
import * as outbox from "../src/outbox";
import * as rooms from "../src/room-state";
import {
  befriend,
  begin,
  listed,
  marked,
  type State,
  shownRooms,
  toasted,
  unreadElsewhere,
  unreadNotices,
} from "../src/state";
import type { Draft } from "../src/timeline";

const entry = (room: string, unread: number, more: Partial<RoomEntry> = {}): RoomEntry => ({
  room,
  unread,
  atMost: false,
  read: "7-0",
  pos: "7-9",
  title: "",
  topic: "",
  ...more,
});

const said = (offset: number, from: string, more: Partial<Message> = {}): Message => ({
  room: "lobby",
  pos: `7-${offset}`,
  from,
  key: `k${offset}`,
  ts: offset,
  data: "hi",
  recovered: false,
  ...more,
});

const state = (part: Partial<State> = {}): State => ({
  ...begin({ user: "me", token: "", transport: "auto" }, null),
  ...part,
});

test("the list has rooms and direct rooms apart, without the inbox, and the open room in any case", () => {
  const s = state({
    rooms: [entry("@bob+me", 1), entry("lobby", 2), entry("@me", 3)],
    open: rooms.opened("fresh"),
  });
  const shown = shownRooms(s);
  expect(shown.rooms.map(({ room }) => room)).toEqual(["fresh", "lobby"]);
  expect(shown.direct.map(({ room }) => room)).toEqual(["@bob+me"]);
});

test("what is unread elsewhere counts neither the open room nor the inbox", () => {
  const s = state({
    rooms: [entry("@bob+me", 1), entry("lobby", 2), entry("@me", 4)],
    open: rooms.opened("lobby"),
  });
  expect(unreadElsewhere(s)).toBe(1);
});

test("a marker that moves to the end of a room leaves nothing unread, and none moves back", () => {
  expect(marked([entry("lobby", 5)], "lobby", "7-9")).toMatchObject([{ read: "7-9", unread: 0 }]);
  expect(marked([entry("lobby", 5)], "lobby", "7-3")).toMatchObject([{ read: "7-3", unread: 5 }]);
  expect(marked([entry("lobby", 5, { read: "7-4" })], "lobby", "7-2")).toMatchObject([{ read: "7-4" }]);
});

test("notifications count until they are read, and direct messages are none", () => {
  const notices = [
    said(1, "a", { data: { type: "mention" } }),
    said(2, "a", { data: { type: "direct" } }),
    said(3, "a", { data: { type: "notification" } }),
  ];
  expect(listed(notices)).toHaveLength(2);
  expect(unreadNotices(state({ notices }))).toBe(2);
  expect(unreadNotices(state({ notices, noticesRead: "7-1" }))).toBe(1);
  const mention = said(4, "a", { data: { type: "mention", room: "lobby", pos: "8-5", from: "a" } });
  const read = (pos: string) => state({ notices: [mention], rooms: [entry("lobby", 0, { read: pos })] });
  expect(unreadNotices(read("8-4"))).toBe(1);
  expect(unreadNotices(read("8-5"))).toBe(0);
});

test("the friend list changes by whole entries, and loses those who are none any more", () => {
  const list = befriend([{ user: "carol", state: "asked" }], {
    user: "bob",
    state: "friend",
    status: "online",
  });
  expect(list.map(({ user }) => user)).toEqual(["bob", "carol"]);
  expect(befriend(list, { user: "bob", state: "none" }).map(({ user }) => user)).toEqual(["carol"]);
});

test("toasts are few, and one that comes again is not doubled", () => {
  const toast = (id: string) => ({ id, title: id, text: "" });
  const many = ["a", "b", "c", "d", "c"].reduce(
    (list, id) => toasted(list, toast(id)),
    toasted([], toast("z")),
  );
  expect(many.map(({ id }) => id)).toEqual(["b", "d", "c"]);
});

test("a message that comes while the reader looks elsewhere is below a line, and is counted", () => {
  let room = rooms.heard(rooms.opened("lobby"), said(1, "ada"), "me", true);
  expect(room).toMatchObject({ fresh: 0, divider: undefined, position: "7-1" });
  room = rooms.heard(room, said(2, "ada"), "me", false);
  room = rooms.heard(room, said(3, "ada"), "me", false);
  expect(room).toMatchObject({ fresh: 2, divider: "7-1" });
  expect(rooms.said(room)).toMatchObject({ fresh: 0, divider: undefined });
});

test("to enter a room leads to what is unread there, if anything is", () => {
  const page = { messages: [said(1, "ada"), said(2, "me"), said(3, "ada")], more: true, next: "7-1" };
  const unread = rooms.entered(rooms.opened("lobby", "7-1"), page, "me");
  expect(unread).toMatchObject({
    loaded: true,
    fresh: 1,
    goTo: { id: rooms.UNREAD },
    position: "7-3",
    timeline: { older: "7-1" },
  });
  expect(rooms.entered(rooms.opened("lobby", "7-3"), page, "me").goTo).toBeUndefined();
});

test("a change of node stands among the messages, and in the order in which it came", () => {
  let room = rooms.servedBy(rooms.opened("lobby"), "1111");
  expect(room.timeline.marks).toEqual([]);
  room = rooms.servedBy(rooms.servedBy(room, "1111"), "2222");
  expect(room.shards).toEqual(["1111", "2222"]);
  expect(room.timeline.marks).toMatchObject([
    { kind: "moved", text: "Now served by node 2222, before by 1111" },
  ]);
});

test("how the reader came back stays said when messages come again", () => {
  const back = rooms.recovered(rooms.opened("lobby"), 3, true);
  expect(rooms.heard(back, said(4, "ada"), "me", true).arrival).toMatchObject({
    how: "recovered",
    missed: 3,
    complete: true,
  });
});

beforeEach(() => {
  const kept = new Map<string, string>();
  const sessionStorage = {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value),
    removeItem: (key: string) => kept.delete(key),
  };
  vi.stubGlobal("window", { sessionStorage });
});

const draft: Draft = { key: "k", from: "me", ts: 1_000, data: "hi", state: "queued" };

test("what was not answered is kept for its room and user alone", () => {
  outbox.keep("lobby", "me", [draft]);
  outbox.keep("team", "me", [{ ...draft, key: "t" }]);
  expect(outbox.kept("lobby", "me", 2_000)).toEqual([draft]);
  expect(outbox.kept("lobby", "you", 2_000)).toEqual([]);
  outbox.keep("lobby", "me", []);
  expect(outbox.kept("lobby", "me", 2_000)).toEqual([]);
  expect(outbox.kept("team", "me", 2_000)).toHaveLength(1);
});

test("one whose key the server has forgotten is not sent again by itself", () => {
  outbox.keep("lobby", "me", [draft]);
  expect(outbox.kept("lobby", "me", 1_000 + 5 * 60_000)).toMatchObject([{ state: "failed" }]);
});

test("storage that is forbidden or broken forgets", () => {
  window.sessionStorage.setItem("chatring.outbox", "{not json");
  expect(outbox.kept("lobby", "me")).toEqual([]);
  vi.stubGlobal("window", {});
  expect(() => outbox.keep("lobby", "me", [draft])).not.toThrow();
  expect(outbox.kept("lobby", "me")).toEqual([]);
});
