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

describe("typing", () => {
  test("is signalled now and then, and its end once", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    for (let i = 0; i < 40; i++) {
      room.typing(true);
      await tick(100);
    }
    expect(await socket.answers("signal")).toMatchObject({ room: "lobby", data: { typing: true } });
    expect(await socket.answers("signal")).toMatchObject({ data: { typing: true } });
    room.typing(false);
    room.typing(false);
    expect(await socket.answers("signal")).toMatchObject({ data: { typing: false } });
    await tick();
    expect(socket.commands).toEqual([]);
  });

  test("ends with what is said, without a word more", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    room.typing(true);
    await socket.answers("signal");
    room.send("hi", { key: "a" });
    room.typing(false);
    await socket.answers("publish", { pos: "1-1" });
    expect(socket.commands).toEqual([]);
  });

  test("is not signalled anew right behind a message, which the signal could outlive", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    room.typing(true);
    await socket.answers("signal");
    room.send("hi", { key: "a" });
    await socket.answers("publish", { pos: "1-1" });
    room.typing(true);
    await tick(100);
    expect(socket.commands).toEqual([]);
    await tick(1000);
    room.typing(true);
    expect(await socket.answers("signal")).toMatchObject({ data: { typing: true } });
  });

  test("of others is over at their message, at their word, after six seconds, and with the connection", async () => {
    const stage = new Stage();
    const { socket } = await stage.inRoom("lobby", {}, "signal", "message", "state");
    const typing = (from: string, typing: boolean) =>
      socket.push({ push: "signal", room: "lobby", from, data: { typing } });
    typing("bob", true);
    typing("bob", true);
    socket.message("lobby", "1-1", { from: "bob" });
    typing("carol", true);
    typing("carol", false);
    typing("carol", false);
    typing("dave", true);
    await tick(5000);
    typing("dave", true);
    await tick(5999);
    expect(stage.hears()).toEqual([
      "lobby typing user=bob typing=true",
      "lobby typing user=bob typing=false",
      "lobby typing user=carol typing=true",
      "lobby typing user=carol typing=false",
      "lobby typing user=dave typing=true",
    ]);
    await tick(1);
    expect(stage.hears()).toEqual(["lobby typing user=dave typing=false"]);
    typing("erin", true);
    await socket.ends(1006);
    expect(stage.hears("typing")).toEqual([
      "lobby typing user=erin typing=true",
      "lobby typing user=erin typing=false",
    ]);
  });

  test("is not signalled while nobody could hear it", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    await socket.ends(1006);
    room.typing(true);
    await tick(500);
    const next = (await stage.socket()).hello().joined("lobby", "1-0", { recovered: true });
    await tick();
    expect(next.commands).toEqual([]);
  });
});

describe("people", () => {
  test("come and go, signal, and are asked for", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    socket.push({ push: "member", room: "lobby", user: "bob", event: "join" });
    socket.push({ push: "signal", room: "lobby", from: "bob", data: { waves: true } });
    expect(stage.hears()).toEqual([
      "lobby member user=bob event=join",
      'lobby signal from=bob data={"waves":true}',
    ]);
    const asked = room.presence();
    const answer = { users: [{ user: "bob", sessions: 2 }], total: 1, watchers: 0, complete: true };
    await socket.answers("presence", answer);
    expect(await asked).toEqual(answer);
    const signalled = room.signal({ waves: true });
    await socket.answers("signal");
    await signalled;
  });

  test("are friends", async () => {
    const stage = new Stage();
    const { socket } = await stage.inRoom("lobby");
    const { friends } = stage.chat;
    const listed = friends.list("friend");
    const dave = { user: "dave", state: "friend", status: "offline", last_seen: 123 };
    expect(await socket.answers("friends.list", { friends: [dave], status: "away" })).toMatchObject({
      state: "friend",
    });
    expect(await listed).toEqual({
      friends: [{ user: "dave", state: "friend", status: "offline", lastSeen: 123 }],
      status: "away",
    });
    for (const verb of ["request", "accept", "decline", "remove", "block", "unblock"] as const) {
      const asked = friends[verb]("bob");
      expect(await socket.answers(`friends.${verb}`, { user: "bob", state: "none" })).toMatchObject({
        user: "bob",
      });
      expect(await asked).toEqual({ user: "bob", state: "none" });
    }
    const away = friends.status("away");
    await socket.answers("friends.status", { status: "away" });
    await away;
    socket.push({ push: "friend", user: "bob", state: "asked" });
    expect(stage.hears()).toEqual(["friend user=bob state=asked"]);
  });

  test("are told what has come for them, once, and nothing that nobody knows", async () => {
    const stage = new Stage();
    const { socket } = await stage.inRoom("lobby");
    socket.joined("@alice", "5-0");
    socket.message("@alice", "5-1", { data: { type: "friend_request", from: "bob" } });
    socket.message("@alice", "5-1", { data: { type: "friend_request", from: "bob" } });
    socket.message("@alice", "5-2", { data: { type: "tomorrow" } }).message("@alice", "5-3", { data: null });
    socket.push({ push: "read", room: "lobby", pos: "1-7" });
    expect(stage.hears().map((line) => line.replace(/ key=.* data/, " data"))).toEqual([
      'inbox room=@alice pos=5-1 from=bob data={"type":"friend_request","from":"bob"} recovered=false',
      "read room=lobby pos=1-7",
    ]);
    expect(stage.chat.inbox?.position).toBe("5-3");
    const read = stage.chat.inbox?.read();
    expect(await socket.answers("read", { pos: "5-3" })).toMatchObject({ room: "@alice", pos: "5-3" });
    expect(await read).toBe("5-3");
  });

  test("may join and leave their inbox as any room", async () => {
    const stage = new Stage();
    const { socket } = await stage.inRoom("lobby");
    socket.joined("@alice", "5-0");
    const { inbox } = stage.chat;
    await inbox?.join();
    expect(inbox?.state).toBe("joined");
    inbox?.leave();
    expect(await socket.answers("leave")).toMatchObject({ room: "@alice" });
    inbox?.join();
    expect(await socket.answers("join")).toMatchObject({ room: "@alice", since: "5-0" });
    await socket.ends(1006);
    await tick(500);
    expect((await stage.socket()).path).toBe("/ws/chat/lobby?user=alice&since=1-0&inbox=5-0");
  });

  test("have their inbox read from where they were", async () => {
    const stage = new Stage({ inboxSince: "5-1" });
    stage.chat.connect();
    const socket = await stage.socket();
    expect(socket.path).toBe("/ws/inbox?user=alice&since=5-1");
    socket.hello().joined("@alice", "5-2");
    const missed = {
      push: "message",
      room: "@alice",
      pos: "5-2",
      from: "s",
      key: "k",
      ts: 1,
      data: { type: "notification" },
    };
    expect(await socket.answers("history", { messages: [missed], more: false })).toMatchObject({
      room: "@alice",
      after: "5-1",
    });
    expect(stage.hears("inbox").length).toBe(1);
  });
});

describe("the list of rooms", () => {
  test("has pages, and spells what it says as programs do", async () => {
    const stage = new Stage();
    const { socket } = await stage.inRoom("lobby");
    const listed = stage.chat.rooms({ limit: 1 });
    const entry = { room: "team", unread: 2, at_most: true, read: "1-1", pos: "1-3", ts: 5, title: "Team" };
    expect(await socket.answers("rooms", { rooms: [entry], next: "5-team", hidden: 1 })).toMatchObject({
      limit: 1,
    });
    const { at_most: _, ...rest } = entry;
    expect(await listed).toEqual({
      rooms: [{ ...rest, topic: "", atMost: true }],
      next: "5-team",
      hidden: 1,
    });
    const forgotten = [stage.chat.forget("team"), stage.chat.forget({ hidden: true })];
    expect(await socket.answers("forget")).toMatchObject({ room: "team" });
    expect(await socket.answers("forget")).toMatchObject({ hidden: true });
    await Promise.all(forgotten);
  });
});

describe("a question", () => {
  test("waits for the connection, and is asked again when it broke or was too much", async () => {
    const stage = new Stage();
    const { socket } = await stage.inRoom("lobby");
    const asked = stage.chat.rooms();
    await socket.takes("rooms");
    await socket.ends(1006);
    await tick(500);
    const next = (await stage.socket()).hello();
    await next.refuses("rooms", "rate_limited", { temporary: true, retry_after_ms: 400 });
    await tick(400);
    await next.answers("rooms", { rooms: [] });
    expect((await asked).rooms).toEqual([]);
  });

  test("is given up after three times, or when the connection does not come", async () => {
    const stage = new Stage();
    const { socket } = await stage.inRoom("lobby");
    const asked = expect(stage.chat.rooms()).rejects.toMatchObject({ code: "unavailable" });
    for (let i = 0; i < 3; i++) {
      await socket.refuses("rooms", "unavailable", { temporary: true, retry_after_ms: 100 });
      await tick(100);
    }
    await asked;
    await socket.ends(1006);
    const late = expect(stage.chat.rooms()).rejects.toMatchObject({ code: "timeout" });
    await tick(8000);
    await late;
    stage.chat.disconnect();
    await expect(stage.chat.rooms()).rejects.toMatchObject({ code: "disconnected" });
  });
});
