// The SDK against a real node: what unit tests take for granted of the server.

import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import WebSocket from "ws";
import { Chat, type ChatOptions, type Message, type Room, type TransportName } from "../src/index.js";
import { build, ChatNode, cleanUp, Issuer, until, Way } from "./node.js";

const UNLIMITED = {
  SESSION_MESSAGES: "0",
  SESSION_BYTES: "0",
  USER_MESSAGES: "0",
  USER_BYTES: "0",
  SESSION_FRAMES: "0",
};

vi.setConfig({ testTimeout: 60_000 });

let node: ChatNode;
const chats: Chat[] = [];

beforeAll(async () => {
  build();
  node = await ChatNode.start({ ...UNLIMITED, ROOM_WINDOW: "16", DIRECT_FROM: "anyone" });
}, 300_000);
afterEach(() => {
  vi.restoreAllMocks();
  for (const chat of chats.splice(0)) chat.disconnect();
});
afterAll(cleanUp);

function chatAs(user: string, url = node.url, options: Partial<ChatOptions> = {}): Chat {
  const chat = new Chat(url, { user, WebSocket, storage: null, minDelay: 20, maxDelay: 200, ...options });
  chats.push(chat);
  return chat;
}

/** What a room tells, in order. */
function listen(room: Room): { messages: Message[]; kinds: string[]; texts(): unknown[] } {
  const messages: Message[] = [];
  const kinds: string[] = [];
  room.on("message", (message) => messages.push(message));
  for (const kind of ["gap", "reset", "moved", "recovered", "change"] as const)
    room.on(kind, () => kinds.push(kind));
  return { messages, kinds, texts: () => messages.map(({ data }) => (data as { text: string }).text) };
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `${from + i}`);

/** Two people over one transport each, in a room of their own. */
async function pair(name: string, transport: TransportName, url = node.url, users = ["alice", "bob"]) {
  const [alice, bob] = users.map((user) => chatAs(user, url, { transport })) as [Chat, Chat];
  const [hers, his] = [alice.room(name, { members: true }), bob.room(name)];
  const heard = listen(his);
  await Promise.all([hers.join(), his.join()]);
  expect(bob.session?.transport).toBe(transport);
  return { alice, bob, hers, his, heard };
}

describe.each(["websocket", "sse"] as const)("over %s", (transport) => {
  test("two people talk, in order, with answers, edits and deletions", async () => {
    const { hers, his, heard } = await pair(`talk-${transport}`, transport);
    const changes: string[] = [];
    his.on("change", ({ kind, target }) => changes.push(`${kind} ${target.key}`));
    const first = await hers.send("1");
    const sent = await Promise.all(range(2, 20).map((text) => hers.send(text)));
    await hers.edit(first.pos, "one");
    await hers.delete(sent[0]?.pos ?? "");
    const answer = await his.send("answer", { replyTo: first.pos, mentions: ["alice"] });
    await until(() => heard.messages.some(({ pos }) => pos === answer.pos), "the answer is heard");
    expect(heard.texts()).toEqual([...range(1, 20), "answer"]);
    expect(heard.messages.at(-1)?.replyTo?.key).toBe(first.key);
    expect(heard.messages.at(-1)?.mentions).toEqual(["alice"]);
    expect(changes).toEqual([`edit ${first.key}`, `delete ${sent[0]?.key}`]);
    const { messages } = await hers.history({ limit: 200 });
    expect(messages.length).toBe(21);
    expect(messages[0]?.data).toEqual({ text: "one" });
    expect(messages[1]?.deleted?.by).toBe("alice");
    expect(his.pending).toEqual([]);
  });

  test("people are seen, and heard typing", async () => {
    const { hers, his } = await pair(`people-${transport}`, transport);
    const typing: string[] = [];
    hers.on("typing", ({ user, typing: does }) => typing.push(`${user} ${does}`));
    his.typing(true);
    await until(() => typing.length > 0, "typing is seen");
    his.typing(false);
    await until(() => typing.length > 1, "its end is seen");
    expect(typing).toEqual(["bob true", "bob false"]);
    expect(await hers.presence()).toEqual({
      users: [
        { user: "alice", sessions: 1 },
        { user: "bob", sessions: 1 },
      ],
      total: 2,
      watchers: 0,
      complete: true,
    });
  });

  test("what comes for a user is told", async () => {
    const [a, b] = [`alice-${transport}`, `bob-${transport}`];
    const { alice, bob } = await pair(`inbox-${transport}`, transport, node.url, [a, b]);
    const inbox: string[] = [];
    const friends: string[] = [];
    bob.on("inbox", ({ data }) => inbox.push(data.type));
    bob.on("friend", ({ user, state }) => friends.push(`${user} ${state}`));
    expect(await alice.friends.request(b)).toEqual({ user: b, state: "requested" });
    await until(() => friends.includes(`${a} asked`), "bob is asked");
    expect((await bob.friends.accept(a)).state).toBe("friend");
    await until(() => friends.includes(`${a} friend`), "bob sees a friend");
    expect((await bob.friends.list()).friends).toEqual([{ user: a, state: "friend", status: "online" }]);
    const direct = alice.direct(b);
    await direct.join();
    const { pos } = await direct.send("psst");
    await until(() => inbox.length === 2, "bob is told");
    expect(inbox).toEqual(["friend_request", "direct"]);
    const { rooms } = await bob.rooms();
    expect(rooms).toMatchObject([{ room: `@${a}+${b}`, pos, unread: 1 }]);
    const his = bob.direct(a);
    await his.join();
    await his.read(pos);
    expect((await bob.rooms()).rooms).toMatchObject([{ unread: 0 }]);
  });

  test("a short absence is made good by the node, a long one from history, each message once", async () => {
    const { bob, hers, his, heard } = await pair(`absence-${transport}`, transport);
    for (const text of range(1, 3)) await hers.send(text);
    await until(() => heard.messages.length === 3, "all is heard");
    bob.disconnect();
    for (const text of range(4, 10)) await hers.send(text);
    bob.connect();
    await until(() => heard.messages.length === 10, "what was missed is heard");
    bob.disconnect();
    for (const text of range(11, 400)) await hers.send(text); // more than a window
    bob.connect();
    await his.join();
    await hers.send("401");
    await until(() => heard.messages.length === 401, "all that was missed is heard");
    expect(heard.texts()).toEqual(range(1, 401));
    expect(heard.kinds).toEqual(["recovered", "recovered"]);
  });

  test("lines that are cut while both talk lose nothing, double nothing, and keep the order", async () => {
    const way = await Way.to(node);
    try {
      const { hers, his, heard } = await pair(`cut-${transport}`, transport, way.url);
      const sent: Promise<unknown>[] = [];
      for (const text of range(1, 200)) {
        sent.push(hers.send(text));
        if (Number(text) % 50 === 0) {
          await new Promise((done) => setTimeout(done, 30));
          way.cut();
        }
      }
      await Promise.all(sent);
      await until(() => heard.messages.length === 200, "all is heard");
      expect(heard.texts()).toEqual(range(1, 200));
      expect(hers.pending.concat(his.pending)).toEqual([]);
    } finally {
      way.close();
    }
  });
});

describe("a message", () => {
  test("may be as long as the server takes, and a longer one never gets there", async () => {
    const chat = chatAs("alice");
    const room = chat.room("x".repeat(64));
    await room.join();
    const rest = JSON.stringify({
      id: 1e9,
      cmd: "publish",
      room: room.name,
      key: "k",
      data: { text: "" },
    }).length;
    await room.send("x".repeat(16_384 - rest), { key: "k" });
    await expect(room.send("x".repeat(16_385 - rest), { key: "l" })).rejects.toMatchObject({
      code: "too_long",
    });
    await room.send("short");
    expect(chat.state).toBe("connected");
  });
});

describe("a room of its own", () => {
  test("is served over a connection of its own, and may only be watched", async () => {
    const chat = chatAs("alice");
    const other = chatAs("bob");
    const own = chat.room("own", { dedicated: true });
    const watched = other.room("own", { watch: true });
    const heard = listen(watched);
    await Promise.all([own.join(), watched.join()]);
    await own.send("hi");
    await until(() => heard.messages.length === 1, "the watcher hears");
    expect((await own.presence()).watchers).toBe(1);
    await expect(watched.send("no")).rejects.toMatchObject({ code: "forbidden", temporary: false });
    await own.leave();
    await until(async () => (await watched.presence()).total === 0, "she is gone");
  });
});

describe("blocked sockets", () => {
  test("make the chat go on over a stream, by itself", async () => {
    const way = await Way.to(node);
    way.blocksSockets = true;
    try {
      const chat = chatAs("alice", way.url);
      const room = chat.room("blocked");
      const heard = listen(room);
      await room.join();
      expect(chat.session?.transport).toBe("sse");
      await room.send("hi");
      await until(() => heard.messages.length === 1, "it is heard");
    } finally {
      way.close();
    }
  });
});

describe.each(["websocket", "sse"] as const)("a node, over %s,", (transport) => {
  test("that is killed is come back to, and what was said meanwhile is sent", async () => {
    let mortal = await ChatNode.start(UNLIMITED);
    const { hers, his, heard } = await pair("killed", transport, mortal.url);
    await hers.send("before");
    await until(() => heard.messages.length === 1, "it is heard");
    await mortal.end("SIGKILL");
    const sent = hers.send("meanwhile");
    expect(hers.pending).toMatchObject([{ state: "queued", data: { text: "meanwhile" } }]);
    mortal = await mortal.again();
    await sent;
    await until(() => heard.messages.length === 2, "what was said meanwhile is heard");
    expect(heard.texts()).toEqual(["before", "meanwhile"]);
    expect([hers.state, his.state]).toEqual(["joined", "joined"]);
    await mortal.end("SIGKILL");
  });

  test("that drains sends its members away, and they wait as told", async () => {
    let draining = await ChatNode.start({ ...UNLIMITED, DRAIN_NOTICE: "100ms", DRAIN_RATE: "1" });
    const chat = chatAs("alice", draining.url, { transport });
    const room = chat.room("drained");
    await room.join();
    const codes: unknown[] = [];
    chat.on("state", ({ retryAt, code }) => retryAt && codes.push(code));
    vi.spyOn(Math, "random").mockReturnValue(0.9); // of the second told: not before they are closed
    await draining.end("SIGTERM");
    await until(() => codes.length > 0, "the drain is noticed");
    expect(codes[0]).toBe(1012);
    draining = await draining.again();
    await until(() => room.state === "joined", "the room is joined again");
    await room.send("hi");
    await draining.end("SIGKILL");
  });
});

describe("tokens", () => {
  test.each(["websocket", "sse"] as const)(
    "are renewed in time, and those that are refused are replaced, over %s",
    async (transport) => {
      const issuer = new Issuer();
      const guarded = await ChatNode.start(issuer.settings);
      const asked: string[] = [];
      const chat = chatAs("", guarded.url, {
        transport,
        getToken: (why) => {
          asked.push(why);
          return why === "first" ? "not.a.token" : issuer.token("carol", "--for", "2s");
        },
      });
      const states: string[] = [];
      chat.on("state", ({ state, code }) => states.push(code ? `${state} ${code}` : state));
      const session = await chat.ready();
      expect(session.user).toBe("carol");
      expect(states).toEqual(["connecting", "connecting 401", "connecting", "connected"]);
      const end = session.expiresAt ?? 0;
      await until(() => (chat.session?.expiresAt ?? 0) > end && Date.now() > end, "the first token is over");
      expect(chat.state).toBe("connected");
      expect(chat.session?.id).toBe(session.id);
      expect((await chat.rooms()).rooms).toEqual([]); // over SSE a request that shows the newest token
      expect(asked.slice(0, 3)).toEqual(["first", "refused", "expiring"]);
      await guarded.end("SIGKILL");
    },
  );

  test("say which rooms are allowed", async () => {
    const issuer = new Issuer();
    const guarded = await ChatNode.start(issuer.settings);
    const chat = chatAs("", guarded.url, {
      token: issuer.token("carol", "--grant", "open=write", "--grant", "news=read"),
    });
    await expect(chat.room("secret").join()).rejects.toMatchObject({ code: "forbidden", temporary: false });
    const [open, news] = [chat.room("open"), chat.room("news")];
    await Promise.all([open.join(), news.join()]);
    await open.send("hi");
    await expect(news.send("no")).rejects.toMatchObject({ code: "forbidden" });
    expect(news.pending).toMatchObject([{ state: "failed" }]);
    await guarded.end("SIGKILL");
  });

  test("that nobody has signed end the chat", async () => {
    const issuer = new Issuer();
    const guarded = await ChatNode.start(issuer.settings);
    for (const transport of ["websocket", "sse"] as const) {
      const chat = chatAs("", guarded.url, { transport, token: "a.b.c" });
      await expect(chat.ready()).rejects.toMatchObject({ code: "unauthorized" });
      expect(chat.state).toBe("disconnected");
    }
    await guarded.end("SIGKILL");
  });
});
