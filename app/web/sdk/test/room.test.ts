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

describe("joining", () => {
  test("the first room is in the address, with the inbox, and further ones are joined by command", async () => {
    const stage = new Stage();
    const lobby = stage.room("lobby", { members: true, history: 0 });
    const team = stage.room("team", { since: "1-7" });
    stage.chat.connect();
    const joined = [lobby.join(), team.join()];
    const socket = await stage.socket();
    expect(socket.path).toBe("/ws/chat/lobby?user=alice&members=true&inbox=true");
    socket.hello().joined("lobby", "1-3", { title: "Lobby", topic: "Say hello" });
    expect(await socket.answers("join")).toMatchObject({ room: "team", since: "1-7" });
    socket.joined("team", "1-7", { recovered: true });
    await Promise.all(joined);
    expect([lobby.state, lobby.position, lobby.title, lobby.topic, lobby.shard]).toEqual([
      "joined",
      "1-3",
      "Lobby",
      "Say hello",
      "1111",
    ]);
    expect(stage.hears()).toEqual([
      "state state=connecting",
      "lobby state state=joining",
      "team state state=joining",
      "state state=connected",
      "lobby state state=joined shard=1111",
      "team state state=joined shard=1111",
      "team recovered complete=true missed=0",
    ]);
  });

  test("connects by itself, and the same name is the same room", async () => {
    const stage = new Stage();
    const room = stage.chat.room("lobby");
    expect(stage.chat.room("lobby", { members: true })).toBe(room);
    const joined = room.join();
    (await stage.socket()).hello().joined("lobby", "0-0");
    await joined;
    await room.join(); // is there already
  });

  test("after a reload goes on from a position, and messages know that they are old", async () => {
    const stage = new Stage();
    const room = stage.room("lobby", { since: "1-7" });
    room.join();
    const socket = await stage.socket();
    expect(socket.path).toContain("/ws/chat/lobby?user=alice&since=1-7");
    socket.hello().joined("lobby", "1-8", { recovered: true, missed: 1 });
    socket.message("lobby", "1-8", { data: 8 }).message("lobby", "1-9", { data: 9 });
    expect(stage.hears("lobby").slice(1)).toEqual([
      "lobby state state=joined shard=1111",
      "lobby message room=lobby pos=1-8 from=bob key=k1-8 ts=1000 data=8 recovered=true",
      "lobby recovered complete=true missed=1",
      "lobby message room=lobby pos=1-9 from=bob key=k1-9 ts=1000 data=9 recovered=false",
    ]);
    expect(room.position).toBe("1-9");
  });

  test("reads the newest messages at first, before those that come meanwhile", async () => {
    const stage = new Stage();
    const room = stage.room("lobby", { history: 2 }, "state");
    room.join();
    const socket = (await stage.socket()).hello().joined("lobby", "1-6");
    socket.message("lobby", "1-7");
    const { id, limit } = await socket.takes("history");
    expect(limit).toBe(2);
    expect(stage.hears("lobby message")).toEqual([]);
    const messages = [5, 6, 7].map((n) => ({
      push: "message",
      room: "lobby",
      pos: `1-${n}`,
      from: "bob",
      key: `k${n}`,
      ts: n,
      data: n,
    }));
    socket.push({ id, ok: { messages, more: true } });
    await tick();
    expect(stage.hears("message").map((line) => line.slice(14, 36))).toEqual([
      "room=lobby pos=1-5 fro",
      "room=lobby pos=1-6 fro",
      "room=lobby pos=1-7 fro",
    ]);
  });

  test("that is refused at the address rejects, and the chat goes on without", async () => {
    const stage = new Stage();
    const secret = stage.room("secret");
    const lobby = stage.room("lobby", { history: 0 });
    stage.plain = {
      status: 403,
      error: { code: "forbidden", message: "the token does not allow this room" },
    };
    const refused = secret.join();
    const joined = lobby.join();
    await (await stage.socket()).ends(1006);
    await expect(refused).rejects.toMatchObject({ code: "forbidden", temporary: false });
    expect(secret.state).toBe("left");
    const socket = await stage.socket();
    expect(socket.path).toContain("/ws/chat/lobby");
    socket.hello().joined("lobby", "1-1");
    await joined;
    await expect(secret.send("hi")).rejects.toMatchObject({ code: "not_joined" });
  });

  test("that is refused by a reply rejects", async () => {
    const stage = new Stage();
    await stage.inRoom("lobby");
    const room = stage.room("secret");
    const joined = room.join();
    await (await stage.socket()).refuses("join", "forbidden");
    await expect(joined).rejects.toMatchObject({ code: "forbidden" });
    expect(stage.hears("secret")).toEqual([
      "secret state state=joining",
      "secret state state=left error=forbidden",
    ]);
  });

  test("is tried again when there is no place for the moment", async () => {
    const stage = new Stage();
    const { socket } = await stage.inRoom("lobby");
    const joined = stage.room("team", { history: 0 }).join();
    await socket.refuses("join", "unavailable", { temporary: true, retry_after_ms: 300 });
    await tick(300);
    await socket.answers("join");
    socket.joined("team", "1-0");
    await joined;
  });

  test("of a name that is none is a mistake at once", () => {
    const stage = new Stage();
    expect(() => stage.chat.room("a/../b")).toThrow(/begins with a letter/);
  });

  test("rejects when the chat ends for good", async () => {
    const stage = new Stage();
    const joined = stage.room("lobby").join();
    await (await stage.socket()).ends(4510);
    await expect(joined).rejects.toMatchObject({ code: "closed", closeCode: 4510 });
  });
});

describe("a connection that comes back", () => {
  test("brings all rooms and the inbox back by position", async () => {
    const stage = new Stage();
    const { socket } = await stage.inRoom("lobby");
    stage.room("team", { history: 0 }).join();
    await socket.answers("join");
    socket.joined("team", "5-1").joined("@alice", "9-3");
    socket.message("lobby", "1-1").message("team", "5-2");
    socket.message("@alice", "9-4", { data: { type: "mention", room: "team", pos: "5-2", from: "bob" } });
    stage.hears();
    await socket.ends(1006);
    await tick(500);
    const next = await stage.socket();
    expect(next.path).toBe("/ws/chat/lobby?user=alice&since=1-1&inbox=9-4");
    next.hello({ shard: "2222" }).joined("lobby", "1-1", { recovered: true });
    expect(await next.answers("join")).toMatchObject({ room: "team", since: "5-2" });
    next.joined("team", "5-2", { recovered: true });
    expect(stage.hears()).toEqual([
      "lobby state state=joining",
      "team state state=joining",
      "state state=connecting retryAt=1000500 code=1006",
      "state state=connecting",
      "state state=connected",
      "lobby state state=joined shard=2222",
      "lobby recovered complete=true missed=0",
      "team state state=joined shard=2222",
      "team recovered complete=true missed=0",
    ]);
  });

  test("does not bring back what was left meanwhile", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    await socket.ends(1006);
    await room.leave();
    expect(room.state).toBe("left");
    await tick(500);
    expect((await stage.socket()).path).toBe("/ws/inbox?user=alice");
  });

  test("does not speak of a room that was left before it was refused", async () => {
    const stage = new Stage();
    const room = stage.room("secret");
    room.join();
    const socket = await stage.socket();
    room.leave();
    stage.plain = { status: 403, error: { code: "forbidden" } };
    await socket.ends(1006);
    expect(stage.hears("secret")).toEqual(["secret state state=joining", "secret state state=left"]);
    expect((await stage.socket()).path).toBe("/ws/inbox?user=alice");
  });

  test("leaves what was left during the handshake", async () => {
    const stage = new Stage();
    const room = stage.room("lobby");
    const joined = room.join();
    const socket = await stage.socket();
    await room.leave();
    await expect(joined).rejects.toMatchObject({ code: "not_joined" });
    socket.hello().joined("lobby", "1-0");
    expect(await socket.answers("leave")).toMatchObject({ room: "lobby" });
    expect(room.state).toBe("left");
  });
});

describe("leaving", () => {
  test("tells the server, and nothing is heard any more", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    const left = room.leave();
    await socket.answers("leave");
    await left;
    socket.message("lobby", "1-1");
    expect(stage.hears()).toEqual(["lobby state state=left"]);
    const joined = room.join();
    expect(await socket.answers("join")).toMatchObject({ since: "1-0" });
    socket.joined("lobby", "1-1", { recovered: true, missed: 1 }).message("lobby", "1-1");
    await joined;
    expect(stage.hears("message").length).toBe(1);
  });

  test("is also what a fresh token may do", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    const sent = room.send("hi");
    await socket.takes("publish");
    socket.push({ push: "left", room: "lobby", code: "forbidden" });
    await expect(sent).rejects.toMatchObject({ code: "forbidden" });
    expect(stage.hears(" state state=")).toEqual(["lobby state state=left error=forbidden"]);
  });
});

describe("a connection of its own", () => {
  test("is opened for a dedicated room, and ends with it", async () => {
    const stage = new Stage();
    await stage.inRoom("lobby");
    const room = stage.room("big", { dedicated: true, history: 0 });
    const joined = room.join();
    const socket = await stage.socket();
    expect(stage.sockets.length).toBe(2);
    expect(socket.path).toBe("/ws/chat/big?user=alice");
    socket.hello({ shard: "2222" }).joined("big", "1-0");
    await joined;
    expect([room.shard, stage.chat.session?.shard]).toEqual(["2222", "1111"]);
    await room.leave();
    expect(socket.closed).toBe(true);
    expect(stage.hears(" state=disconnected")).toEqual([]);
    await tick(30_000);
    expect(stage.sockets.length).toBe(2);
  });

  test("is opened to watch, and is the chat's when there is no other", async () => {
    const stage = new Stage({ inbox: false });
    const room = stage.room("news", { watch: true, history: 0 });
    const joined = room.join();
    const socket = await stage.socket();
    expect(stage.sockets.length).toBe(1);
    expect(socket.path).toBe("/ws/watch/news?user=alice");
    socket.hello().joined("news", "1-0");
    await joined;
    expect(stage.chat.state).toBe("connected");
    socket.push({ push: "announcement", from: "service:ops", ts: 1, data: { text: "Hear, hear" } });
    expect(stage.hears("announcement").length).toBe(1);
    stage.chat.disconnect();
    expect(stage.hears("state state=disconnected").length).toBe(1);
  });

  test("that ends is the chat's end when there is no other", async () => {
    const stage = new Stage({ inbox: false });
    const room = stage.room("news", { watch: true, history: 0 });
    room.join();
    (await stage.socket()).hello().joined("news", "1-0");
    stage.hears();
    await room.leave();
    expect(stage.chat.state).toBe("disconnected");
    expect(stage.hears()).toEqual(["news state state=left", "state state=disconnected"]);
  });

  test("ends when a fresh token does not allow its room", async () => {
    const stage = new Stage();
    await stage.inRoom("lobby");
    stage.room("big", { dedicated: true, history: 0 }).join();
    const socket = (await stage.socket()).hello().joined("big", "1-0");
    socket.push({ push: "left", room: "big", code: "forbidden" });
    expect(socket.closed).toBe(true);
    await tick(10_000);
    expect(stage.sockets.length).toBe(2);
  });

  test("that is refused says so of the room", async () => {
    const stage = new Stage({ inbox: false });
    const room = stage.room("secret", { dedicated: true });
    stage.plain = { status: 403, error: { code: "forbidden" } };
    const joined = room.join();
    await (await stage.socket()).ends(1006);
    await expect(joined).rejects.toMatchObject({ code: "forbidden" });
    await tick(60_000);
    expect(stage.sockets.length).toBe(1);
  });

  test("brings the inbox's along", async () => {
    const stage = new Stage();
    stage.room("big", { dedicated: true }).join();
    await tick();
    expect(stage.sockets.map(({ path }) => path).sort()).toEqual([
      "/ws/chat/big?user=alice",
      "/ws/inbox?user=alice",
    ]);
  });

  test("tells of an announcement once", async () => {
    const stage = new Stage();
    stage.room("big", { dedicated: true }).join();
    await tick();
    for (const socket of stage.sockets) {
      socket.hello().push({ push: "announcement", from: "service:ops", ts: 1, data: null });
    }
    expect(stage.hears("announcement").length).toBe(1);
  });
});

describe("the inbox's address", () => {
  test("may serve no rooms: then the room's own is tried", async () => {
    const stage = new Stage();
    stage.chat.connect();
    const first = (await stage.socket()).hello();
    const room = stage.room("lobby", { history: 0 });
    const joined = room.join();
    await first.refuses("join", "forbidden");
    expect(first.closed).toBe(true);
    const socket = await stage.socket();
    expect(socket.path).toBe("/ws/chat/lobby?user=alice&inbox=true");
    socket.hello().joined("lobby", "1-0");
    await joined;
  });

  test("is stayed at when a room is refused where others are served", async () => {
    const stage = new Stage();
    stage.chat.connect();
    const socket = (await stage.socket()).hello();
    const joined = stage.room("lobby", { history: 0 }).join();
    await socket.answers("join");
    socket.joined("lobby", "1-0");
    await joined;
    const refused = stage.room("secret").join();
    await socket.refuses("join", "forbidden");
    await expect(refused).rejects.toMatchObject({ code: "forbidden" });
    expect([socket.closed, stage.sockets.length]).toEqual([false, 1]);
  });

  test("is that of a chat whose only room is refused", async () => {
    const stage = new Stage();
    stage.plain = { status: 403, error: { code: "forbidden" } };
    const joined = stage.room("secret").join();
    await (await stage.socket()).ends(1006);
    await expect(joined).rejects.toMatchObject({ code: "forbidden" });
    expect((await stage.socket()).path).toBe("/ws/inbox?user=alice");
  });
});

describe("a direct room", () => {
  test("is named as soon as it is known who the user is", async () => {
    const stage = new Stage({ token: "t" });
    const room = stage.chat.direct("bob", { history: 0 });
    stage.listen(room);
    expect(room.name).toBe("");
    const joined = room.join();
    const socket = await stage.socket();
    expect(socket.path).toBe("/ws/inbox");
    socket.hello();
    expect(room.name).toBe("@alice+bob");
    expect(await socket.answers("join")).toMatchObject({ room: "@alice+bob" });
    socket.joined("@alice+bob", "0-0");
    await joined;
    expect(stage.chat.direct("bob")).toBe(room);
    expect(stage.chat.room("@alice+bob")).toBe(room);
    await socket.ends(1006);
    expect(room.name).toBe("@alice+bob");
    await tick(500);
    expect((await stage.socket()).path).toBe("/ws/chat/@alice+bob?since=0-0&inbox=true");
  });

  test("is the room of its name", () => {
    const stage = new Stage();
    const room = stage.chat.room("@alice+bob");
    expect(stage.chat.direct("bob")).toBe(room);
  });
});
