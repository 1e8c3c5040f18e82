import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Stage, tick } from "./stage.js";

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 });
  vi.spyOn(Math, "random").mockReturnValue(0);
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

describe("a message on its way", () => {
  test("is pending until it is heard, and resolves with its position", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    const sent = room.send("hi", { key: "a", replyTo: "1-0", mentions: ["bob"] });
    expect(room.pending).toEqual([
      { key: "a", data: { text: "hi" }, replyTo: "1-0", mentions: ["bob"], state: "queued" },
    ]);
    const command = await socket.answers("publish", { pos: "1-1" });
    expect(command).toMatchObject({
      room: "lobby",
      key: "a",
      data: { text: "hi" },
      reply_to: "1-0",
      mentions: ["bob"],
    });
    expect(await sent).toEqual({ pos: "1-1", key: "a" });
    expect(room.pending[0]?.state).toBe("sent");
    socket.message("lobby", "1-1", { from: "alice", key: "a", data: { text: "hi" } });
    expect(room.pending).toEqual([]);
    const kinds = stage.hears().map((line) => line.split(" ")[1] + (/ state=\w+/.exec(line)?.[0] ?? ""));
    expect(kinds).toEqual(["pending state=queued", "pending state=sent", "message"]);
  });

  test("may be heard before it is answered", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby", {}, "message");
    const sent = room.send({ any: ["JSON"] }, { key: "a" });
    const { id, data } = await socket.takes("publish");
    expect(data).toEqual({ any: ["JSON"] });
    room.on("message", () => stage.heard.push(`heard with ${room.pending.length} pending`));
    socket.message("lobby", "1-1", { from: "alice", key: "a" });
    expect(await sent).toEqual({ pos: "1-1", key: "a" });
    socket.push({ id, ok: { pos: "1-1" } });
    await tick();
    expect(stage.hears()).toEqual([
      'lobby pending key=a data={"any":["JSON"]} state=queued',
      "heard with 0 pending",
    ]);
  });

  test("of somebody else under the same key is another one", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    room.send("hi", { key: "a" });
    socket.message("lobby", "1-1", { from: "bob", key: "a" });
    expect(room.pending.length).toBe(1);
  });

  test("waits for the one before it, so that their order holds when that has to be sent again", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    const sent = ["a", "b"].map((key) => room.send(key, { key }));
    expect(
      await socket.refuses("publish", "unavailable", { temporary: true, retry_after_ms: 1000 }),
    ).toMatchObject({ key: "a" });
    await tick(999);
    expect(socket.commands).toEqual([]);
    await tick(1);
    expect(await socket.answers("publish", { pos: "1-1" })).toMatchObject({ key: "a" });
    expect(await socket.answers("publish", { pos: "1-2" })).toMatchObject({ key: "b" });
    expect(await Promise.all(sent)).toEqual([
      { pos: "1-1", key: "a" },
      { pos: "1-2", key: "b" },
    ]);
  });

  test("is sent again under its key after the connection broke, once what was missed has been heard", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    const sent = room.send("hi", { key: "a" });
    await socket.takes("publish");
    await socket.ends(1006);
    const second = room.send("offline", { key: "b" });
    await tick(500);
    const next = (await stage.socket()).hello().joined("lobby", "1-2", { recovered: true, missed: 2 });
    next.message("lobby", "1-1");
    room.send("early", { key: "c" });
    await tick();
    expect(next.commands).toEqual([]);
    next.message("lobby", "1-2", { from: "alice", key: "a" }); // it had arrived
    expect(await sent).toEqual({ pos: "1-2", key: "a" });
    expect(await next.answers("publish", { pos: "1-3" })).toMatchObject({ key: "b" });
    expect(await second).toEqual({ pos: "1-3", key: "b" });
    expect(await next.answers("publish", { pos: "1-4" })).toMatchObject({ key: "c" });
  });

  test("waits for the paging of what was missed", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    await socket.ends(1006);
    room.send("hi", { key: "a" });
    await tick(500);
    const next = (await stage.socket()).hello().joined("lobby", "1-1");
    const { id } = await next.takes("history");
    room.send("early", { key: "b" });
    await tick();
    expect(next.commands).toEqual([]);
    next.push({ id, ok: { messages: [], more: false } });
    await next.takes("publish");
  });

  test("that is acknowledged and cannot be heard any more is not pending for ever", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    room.send("hi", { key: "a" });
    await socket.answers("publish", { pos: "1-1" });
    await socket.ends(1006);
    await tick(500);
    const next = (await stage.socket()).hello().joined("lobby", "1-1");
    await next.refuses("history", "forbidden");
    expect(room.pending).toEqual([]);
  });

  test("may be sent before the room is joined", async () => {
    const stage = new Stage();
    const room = stage.room("lobby", { history: 0 });
    room.join();
    const sent = room.send("hi", { key: "a" });
    const socket = (await stage.socket()).hello().joined("lobby", "1-0");
    await socket.answers("publish", { pos: "1-1" });
    await sent;
  });
});

describe("a message that is not sent", () => {
  test("fails for good, shows so, and may be sent again or discarded", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    const sent = room.send("hi", { key: "a" });
    await socket.refuses("publish", "forbidden");
    await expect(sent).rejects.toMatchObject({ code: "forbidden" });
    expect(room.pending).toMatchObject([{ key: "a", state: "failed", error: { code: "forbidden" } }]);
    const again = room.retry("a");
    expect(await socket.answers("publish", { pos: "1-1" })).toMatchObject({ key: "a", data: { text: "hi" } });
    await again;
    room.send("no", { key: "b" });
    await socket.refuses("publish", "bad_key");
    room.discard("b");
    expect(room.pending.map(({ key }) => key)).toEqual(["a"]);
    await expect(room.retry("b")).rejects.toMatchObject({ code: "not_found" });
    expect(stage.hears("pending").map((line) => line.replace(/ data=\S+/, "").slice(14))).toEqual([
      "key=a state=queued",
      "key=a state=failed error=forbidden",
      "key=a state=queued",
      "key=a state=sent",
      "key=b state=queued",
      "key=b state=failed error=bad_key",
      "key=b state=discarded error=bad_key",
    ]);
  });

  test("does not stand in the way of the next", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    const sent = ["a", "b"].map((key) => room.send(key, { key }));
    await socket.refuses("publish", "conflict");
    await socket.answers("publish", { pos: "1-1" });
    await expect(sent[0]).rejects.toMatchObject({ code: "conflict" });
    expect(await sent[1]).toEqual({ pos: "1-1", key: "b" });
  });

  test("because it is too long, or no JSON, never leaves", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    await expect(room.send("ä".repeat(8200))).rejects.toMatchObject({ code: "too_long" });
    await expect(room.send({ big: 1n })).rejects.toMatchObject({ code: "bad_request" });
    await expect(room.send(undefined)).rejects.toMatchObject({ code: "bad_request" });
    await expect(room.signal("ä".repeat(8200))).rejects.toMatchObject({ code: "too_long" });
    room.send("ä".repeat(8000), { key: "a" });
    await socket.takes("publish");
    expect(room.pending.length).toBe(1);
  });

  test("because too many wait is told at once", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby", {}, "pending");
    await socket.ends(1006);
    for (let i = 0; i < 1000; i++) room.send("x", { key: `k${i}` });
    await expect(room.send("x", { key: "more" })).rejects.toMatchObject({
      code: "queue_full",
      temporary: true,
    });
    expect(room.pending.length).toBe(1000);
  });

  test("because its sender took it back says why", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    const abort = new AbortController();
    const first = room.send("1", { key: "a" });
    const second = room.send("2", { key: "b", signal: abort.signal });
    abort.abort(new Error("changed my mind"));
    await expect(second).rejects.toThrow("changed my mind");
    await expect(room.send("3", { signal: abort.signal })).rejects.toThrow("changed my mind");
    await socket.answers("publish", { pos: "1-1" });
    await first;
    await tick();
    expect(socket.commands).toEqual([]);
  });

  test("keeps no hold of a signal that outlives it", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    const { signal } = new AbortController();
    const held = new Set<unknown>();
    vi.spyOn(signal, "addEventListener").mockImplementation((_, listener) => void held.add(listener));
    vi.spyOn(signal, "removeEventListener").mockImplementation((_, listener) => void held.delete(listener));
    const sent = room.send("hi", { key: "a", signal });
    expect(held.size).toBe(1);
    await socket.answers("publish", { pos: "1-1" });
    await sent;
    expect(held.size).toBe(0);
  });

  test("because nobody can tell after too long an absence whether it was", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    const known = room.send("tried", { key: "a" });
    const never = room.send("not tried", { key: "b" });
    await socket.takes("publish");
    await socket.ends(1006);
    await tick(5 * 60_000);
    const next = (await stage.socket()).hello().joined("lobby", "1-9");
    await next.answers("history", { messages: [], more: false }); // what was missed is not kept any more
    await expect(known).rejects.toMatchObject({ code: "uncertain" });
    expect(await next.answers("publish", { pos: "1-10" })).toMatchObject({ key: "b" });
    await never;
  });

  test("is not one that was never looked at", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    const sent = room.send("hi", { key: "a" });
    await socket.refuses("publish", "rate_limited", { temporary: true, retry_after_ms: 1000 });
    await socket.ends(1006);
    await tick(5 * 60_000);
    const next = (await stage.socket()).hello().joined("lobby", "1-9");
    await next.answers("history", { messages: [], more: false });
    await next.answers("publish", { pos: "1-10" });
    await sent;
  });

  test("is nobody's unhandled rejection", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    room.send("hi", { key: "a" });
    await socket.refuses("publish", "forbidden");
    await tick();
    const { room: other } = await stage.inRoom("team");
    other.send("hi", { key: "a" });
    stage.chat.disconnect();
    await tick();
  });
});

describe("the same key", () => {
  test("is the same message while it waits", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    const sent = [room.send("hi", { key: "a" }), room.send("hi", { key: "a" })];
    await socket.answers("publish", { pos: "1-1" });
    expect(await Promise.all(sent)).toEqual([
      { pos: "1-1", key: "a" },
      { pos: "1-1", key: "a" },
    ]);
    await tick();
    expect(socket.commands).toEqual([]);
  });

  test("after a reload is that of a message which has been heard, and waits for nothing", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    socket.message("lobby", "1-1", { from: "alice", key: "a" });
    const sent = room.send("hi", { key: "a" });
    await socket.answers("publish", { pos: "1-1" });
    expect(await sent).toEqual({ pos: "1-1", key: "a" });
    expect(room.pending).toEqual([]);
    expect(stage.hears("pending").at(-1)).toContain("state=sent");
  });
});

describe("what changes or describes", () => {
  test("is sent in its place, and again under its key", async () => {
    vi.restoreAllMocks(); // keys are drawn at random
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    room.send("hi", { key: "a" });
    const edited = room.edit("1-1", "ho");
    const deleted = room.delete("1-1");
    const described = room.describe({ title: "Lobby" });
    await socket.answers("publish", { pos: "1-2" });
    const first = await socket.refuses("edit", "unavailable", { temporary: true });
    await tick(1250);
    expect(await socket.answers("edit", { pos: "1-3" })).toMatchObject({
      pos: "1-1",
      data: { text: "ho" },
      key: first.key,
    });
    expect(await socket.answers("delete", { pos: "1-4" })).toMatchObject({ pos: "1-1" });
    expect(await socket.answers("describe", { pos: "1-5" })).toMatchObject({ title: "Lobby", topic: "" });
    expect([(await edited).pos, (await deleted).pos, (await described).pos]).toEqual(["1-3", "1-4", "1-5"]);
    expect(stage.hears("pending").length).toBe(2); // of the message alone
    expect(room.pending.map(({ key }) => key)).toEqual(["a"]);
  });

  test("rejects when it is refused", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    const edited = room.edit("1-1", "ho");
    await socket.refuses("edit", "not_found");
    await expect(edited).rejects.toMatchObject({ code: "not_found" });
    expect(room.pending).toEqual([]);
  });
});
