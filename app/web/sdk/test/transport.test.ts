import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Chat, type ChatOptions } from "../src/index.js";
import { Socket, Stage, tick } from "./stage.js";

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 });
  vi.spyOn(Math, "random").mockReturnValue(0);
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const DAY = 24 * 60 * 60 * 1000;
const upgradeRequired = { status: 426, error: { code: "bad_request" } };

class Memory {
  readonly kept = new Map<string, string>();
  getItem = (key: string): string | null => this.kept.get(key) ?? null;
  setItem = (key: string, value: string) => void this.kept.set(key, value);
  removeItem = (key: string) => void this.kept.delete(key);
}

/** One request for a stream, or with commands for it, as the test's server sees it. */
interface Request {
  method: string;
  path: string;
  headers: Headers;
  signal: AbortSignal | null | undefined;
  lines: { id: number; cmd: string; [field: string]: unknown }[];
  answer(response: Response): Promise<void>;
}

/** A chat whose sockets never open though plain HTTP works, and a server of streams. */
class Blocked {
  readonly requests: Request[] = [];
  readonly heard: string[] = [];
  readonly chat: Chat;
  sockets = 0;

  constructor(options: Partial<ChatOptions> = {}) {
    const count = () => this.sockets++;
    class Closed extends Socket {
      constructor(url: string, protocols?: string[]) {
        super(url, protocols);
        count();
        queueMicrotask(() => this.onclose?.({ code: 1006, reason: "" }));
      }
    }
    this.chat = new Chat("https://chat.example.com", {
      user: "alice",
      WebSocket: Closed,
      fetch: (input, init = {}) => this.#serve(String(input), init),
      storage: null,
      ...options,
    });
    this.chat.on("state", ({ state, code }) => this.heard.push(code ? `${state} ${code}` : state));
  }

  #serve(url: string, { method = "GET", headers, body, signal }: RequestInit): Promise<Response> {
    const { pathname, search } = new URL(url);
    if (pathname.startsWith("/ws/")) {
      return Promise.resolve(
        new Response(JSON.stringify({ error: { code: "bad_request" } }), { status: 426 }),
      );
    }
    return new Promise((resolve, reject) => {
      signal?.addEventListener("abort", () => reject(signal.reason));
      this.requests.push({
        method,
        path: pathname + search.replace(/stream=[0-9a-f]{24}/, "stream=S"),
        headers: new Headers(headers),
        signal,
        lines: body
          ? String(body)
              .split("\n")
              .map((line) => JSON.parse(line))
          : [],
        answer: async (response) => {
          resolve(response);
          await tick();
        },
      });
    });
  }

  /** Takes the next request. */
  async takes(method: string): Promise<Request> {
    await tick();
    const request = this.requests.shift();
    if (request?.method !== method)
      throw new Error(`want ${method}, got ${request?.method} ${request?.path}`);
    return request;
  }

  /** Takes the next request, which is to open a stream, and opens it; returns what writes to it. */
  async opens(): Promise<{
    request: Request;
    write: (text: string | Uint8Array) => Promise<unknown>;
    end: () => Promise<unknown>;
  }> {
    const request = await this.takes("GET");
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    await request.answer(new Response(readable));
    const writer = writable.getWriter();
    const done = (written: Promise<void>) => {
      written.catch(() => {}); // the client has gone
      return tick();
    };
    return {
      request,
      write: (text) => done(writer.write(typeof text === "string" ? new TextEncoder().encode(text) : text)),
      end: () => done(writer.close()),
    };
  }
}

const event = (push: { push: string; [field: string]: unknown }, id?: string) =>
  `${id ? `id: ${id}\n` : ""}${push.push === "message" ? "" : `event: ${push.push}\n`}data: ${JSON.stringify(push)}\n\n`;

const HELLO = event({
  push: "hello",
  user: "alice",
  session: "s1",
  shard: "1111",
  ping_s: 25,
  inbox: "@alice",
});

const joined = (room: string, pos: string) =>
  event({ push: "joined", room, pos, recovered: false, missed: 0 }, pos);

const replies = (...frames: object[]) =>
  new Response(frames.map((frame) => `${JSON.stringify(frame)}\n`).join(""));

describe("blocked sockets", () => {
  test("make room for a stream after two attempts, and that is remembered for a day", async () => {
    const storage = new Memory();
    const blocked = new Blocked({ storage });
    blocked.chat.connect();
    await tick(1500);
    expect(blocked.sockets).toBe(2);
    const { request, write } = await blocked.opens();
    expect(request.path).toBe("/sse/inbox?user=alice&stream=S");
    expect(storage.kept.size).toBe(0);
    await write(HELLO);
    expect(blocked.chat.session?.transport).toBe("sse");
    expect(storage.kept.size).toBe(1);
    expect(blocked.heard).toEqual([
      "connecting",
      "connecting 426",
      "connecting",
      "connecting 426",
      "connecting",
      "connected",
    ]);

    const next = new Blocked({ storage });
    next.chat.connect();
    await next.opens();
    expect(next.sockets).toBe(0);
    next.chat.disconnect();

    vi.setSystemTime(Date.now() + DAY);
    const later = new Blocked({ storage });
    later.chat.connect();
    await tick();
    expect(later.sockets).toBe(1);
    expect(storage.kept.size).toBe(0);
  });

  test("are those that open and break before the first word, too", async () => {
    const stage = new Stage();
    stage.chat.connect();
    for (let i = 0; i < 2; i++) {
      const socket = await stage.socket();
      socket.onopen?.({} as never);
      await socket.ends(1006);
      await tick(1000);
    }
    await tick(10_000);
    expect(stage.sockets.length).toBe(2); // the rest are streams
  });

  test("are not those of a server that is away, refuses, or says why it closes", async () => {
    for (const plain of [undefined, { status: 503 }, upgradeRequired]) {
      const stage = new Stage();
      stage.plain = plain;
      stage.chat.connect();
      const attempts = plain === upgradeRequired ? 1 : 3; // one alone may be chance
      for (let i = 0; i < attempts; i++) {
        await (await stage.socket()).ends(1006);
        await tick(4000);
      }
      expect(stage.sockets.length).toBe(attempts + 1);
    }
    const stage = new Stage();
    stage.chat.connect();
    for (let i = 0; i < 3; i++) {
      const socket = await stage.socket();
      socket.onopen?.({} as never);
      await socket.ends(1013);
      await tick(4000);
    }
    expect(stage.sockets.length).toBe(4);
  });

  test("are tried again where there are no streams", async () => {
    const blocked = new Blocked();
    blocked.chat.connect();
    await tick(1500);
    for (let i = 0; i < 2; i++) {
      await (await blocked.takes("GET")).answer(new Response("", { status: 404 }));
      await tick(8000);
    }
    expect(blocked.sockets).toBeGreaterThan(2);
  });

  test("are no longer remembered then", async () => {
    const storage = new Memory();
    storage.setItem("chatring.sse.chat.example.com", String(Date.now()));
    const blocked = new Blocked({ storage });
    blocked.chat.connect();
    for (let i = 0; i < 2; i++) {
      await (await blocked.takes("GET")).answer(new Response("", { status: 404 }));
      await tick(1500);
    }
    expect(blocked.sockets).toBeGreaterThan(0);
    expect(storage.kept.size).toBe(0);
  });

  test("count once when several fail at the same moment", async () => {
    const blocked = new Blocked();
    blocked.chat.room("big", { dedicated: true }).join();
    await tick();
    expect(blocked.sockets).toBe(2);
    await tick(600);
    expect(blocked.sockets).toBe(3);
  });

  test("are nothing to somebody who wants no streams", async () => {
    const blocked = new Blocked({ transport: "websocket" });
    blocked.chat.connect();
    await tick(60_000);
    expect(blocked.sockets).toBeGreaterThan(4);
    expect(blocked.requests).toEqual([]);
  });

  test("are found by a page of another origin, too, which may read less", async () => {
    vi.stubGlobal("location", { origin: "https://www.example.com" });
    const asked: string[] = [];
    const fetch = async (input: unknown, init?: RequestInit) => {
      const { pathname, searchParams } = new URL(String(input));
      asked.push(`${init?.method} ${pathname} ${searchParams.get("stream")?.length}`);
      if (pathname.startsWith("/ws/")) throw new TypeError("no CORS");
      return new Response(JSON.stringify({ error: { code: "no_stream" } }), { status: 404 });
    };
    const stage = new Stage({ fetch: fetch as typeof globalThis.fetch });
    stage.chat.connect();
    await (await stage.socket()).ends(1006);
    expect(asked).toEqual(["GET /ws/inbox undefined", "POST /sse/inbox 24"]);
    expect(stage.hears("retryAt")[0]).toContain("code=426");
    vi.stubGlobal("location", { origin: "https://chat.example.com" });
    asked.length = 0;
    const own = new Stage({ fetch: fetch as typeof globalThis.fetch });
    own.chat.connect();
    await (await own.socket()).ends(1006);
    expect(asked).toEqual(["GET /ws/inbox undefined"]);
  });

  test("are forgotten when a socket works", async () => {
    const storage = new Memory();
    storage.setItem("chatring.sse.chat.example.com", String(Date.now() - DAY));
    const stage = new Stage({ storage });
    stage.chat.connect();
    (await stage.socket()).hello();
    expect(storage.kept.size).toBe(0);
  });

  test("matter to nobody where storage is forbidden", async () => {
    const forbidden = () => {
      throw new DOMException("", "SecurityError");
    };
    const stage = new Stage({ storage: { getItem: forbidden, setItem: forbidden, removeItem: forbidden } });
    stage.chat.connect();
    (await stage.socket()).hello();
    expect(stage.chat.state).toBe("connected");
  });
});

describe("storage", () => {
  test("is the page's own, and left alone where there is no page: Node warns of its use", () => {
    const storage = new Memory();
    const used = vi.spyOn(storage, "getItem");
    let touched = 0;
    Object.defineProperty(globalThis, "localStorage", {
      configurable: true,
      get: () => ++touched && storage,
    });
    try {
      new Stage({ storage: undefined });
      expect(touched).toBe(0);
      vi.stubGlobal("document", new EventTarget());
      new Stage({ storage: undefined });
      expect(used).toHaveBeenCalledWith("chatring.sse.chat.example.com");
    } finally {
      Reflect.deleteProperty(globalThis, "localStorage");
    }
  });
});

describe("without WebSocket", () => {
  test("a stream is opened, unless it was to be a socket", async () => {
    const blocked = new Blocked({ WebSocket: undefined });
    blocked.chat.connect();
    await blocked.opens();
    expect(() => new Blocked({ WebSocket: undefined, transport: "websocket" })).toThrow(/no WebSocket here/);
  });
});

describe("a stream", () => {
  /** A chat in the room lobby over a stream. */
  async function inLobby(options: Partial<ChatOptions> = {}) {
    const blocked = new Blocked({ transport: "sse", inbox: false, ...options });
    const room = blocked.chat.room("lobby", { history: 0 });
    room.join();
    const stream = await blocked.opens();
    await stream.write(HELLO + joined("lobby", "1-0"));
    expect(room.state).toBe("joined");
    return { blocked, room, ...stream };
  }

  test("is heard event by event, however it is cut into pieces", async () => {
    const { room, write } = await inLobby();
    const heard: unknown[] = [];
    room.on("message", ({ data }) => heard.push(data));
    const said = (n: number) =>
      event({
        push: "message",
        room: "lobby",
        pos: `1-${n}`,
        from: "b",
        key: `${n}`,
        ts: 1,
        data: `ä\u{1F600}${n}`,
      });
    const text = `:\n\n${said(1)}: a comment\n${said(2)}${said(3).replaceAll("\n", "\r\n")}retry: 61\n\n${said(4)}`;
    for (const byte of new TextEncoder().encode(text)) await write(Uint8Array.of(byte));
    expect(heard).toEqual([1, 2, 3, 4].map((n) => `ä\u{1F600}${n}`));
  });

  test("takes commands by POST, in turn, and together what gathers", async () => {
    const { blocked, room } = await inLobby({ user: "", token: "t" });
    const asked = [room.presence()];
    const first = await blocked.takes("POST");
    expect(first.path).toBe("/sse/chat/lobby?stream=S");
    expect(first.headers.get("Authorization")).toBe("Bearer t");
    asked.push(room.presence(), room.presence());
    await tick();
    expect(blocked.requests).toEqual([]);
    await first.answer(replies({ id: first.lines[0]?.id, ok: { total: 1 } }));
    const second = await blocked.takes("POST");
    await second.answer(replies(...second.lines.map(({ id }) => ({ id, ok: { total: 2 } }))));
    expect((await Promise.all(asked)).map(({ total }) => total)).toEqual([1, 2, 2]);
  });

  test("gives again what had no reply, and what had no turn", async () => {
    const { blocked, room } = await inLobby();
    const asked = [room.presence(), room.presence(), room.presence(), room.presence()];
    const one = await blocked.takes("POST");
    await one.answer(replies({ id: one.lines[0]?.id, ok: { total: 1 } }));
    const three = await blocked.takes("POST");
    expect(three.lines.length).toBe(3);
    await three.answer(replies({ id: three.lines[0]?.id, ok: { total: 2 } })); // time was up
    const two = await blocked.takes("POST");
    expect(two.lines).toEqual(three.lines.slice(1));
    const busy = { error: { code: "unavailable", temporary: true, retry_after_ms: 700 } };
    await two.answer(new Response(JSON.stringify(busy), { status: 503 }));
    await tick(700);
    const again = await blocked.takes("POST");
    expect(again.lines).toEqual(two.lines);
    await again.answer(replies(...again.lines.map(({ id }) => ({ id, ok: { total: 3 } }))));
    expect((await Promise.all(asked)).map(({ total }) => total)).toEqual([1, 2, 3, 3]);
  });

  test("sends no more at once than the server takes", async () => {
    const { blocked, room } = await inLobby();
    for (let i = 0; i < 101; i++) room.presence().catch(() => {});
    const sizes: number[] = [];
    for (let i = 0; i < 5; i++) {
      const request = await blocked.takes("POST");
      sizes.push(request.lines.length);
      await request.answer(replies(...request.lines.map(({ id }) => ({ id, ok: {} }))));
    }
    expect(sizes).toEqual([1, 32, 32, 32, 4]);
  });

  test("has more time for its replies, which come together at the end", async () => {
    const { blocked, room } = await inLobby();
    const asked = room.presence();
    const { lines, answer } = await blocked.takes("POST");
    await tick(14_000);
    await answer(replies({ id: lines[0]?.id, ok: { total: 1 } }));
    expect((await asked).total).toBe(1);
    expect(blocked.chat.state).toBe("connected");
  });

  test("that does not begin is given up, and opened again", async () => {
    const blocked = new Blocked({ transport: "sse" });
    blocked.chat.connect();
    const { signal } = await blocked.takes("GET");
    await tick(16_000);
    expect(signal?.aborted).toBe(true);
    await tick(500);
    await blocked.opens();
  });

  test("is opened again when the server knows it no more, by position", async () => {
    const { blocked, room } = await inLobby();
    const asked = room.presence();
    await (await blocked.takes("POST")).answer(
      new Response(JSON.stringify({ error: { code: "no_stream" } }), { status: 404 }),
    );
    expect(room.state).toBe("joining");
    await tick(500);
    const next = await blocked.opens();
    expect(next.request.path).toBe("/sse/chat/lobby?user=alice&since=1-0&stream=S");
    await next.write(HELLO + joined("lobby", "1-0"));
    const request = await blocked.takes("POST");
    await request.answer(replies({ id: request.lines[0]?.id, ok: { total: 1 } }));
    expect((await asked).total).toBe(1);
  });

  async function astray() {
    const { blocked, room } = await inLobby();
    const asked = room.presence();
    for (let i = 0; i < 2; i++) {
      await (await blocked.takes("POST")).answer(
        new Response(JSON.stringify({ error: { code: "no_stream" } }), { status: 404 }),
      );
      await tick(1500);
      if (i === 0) await (await blocked.opens()).write(HELLO + joined("lobby", "1-0"));
    }
    const away = await blocked.opens();
    expect(away.request.path).toBe("/sse/inbox?user=alice&stream=S");
    await away.write(HELLO);
    return { blocked, room, asked, away };
  }

  test("is opened at the inbox's address when commands do not find those of the room", async () => {
    const { blocked, asked, away } = await astray();
    const join = await blocked.takes("POST");
    expect(join.lines).toMatchObject([{ cmd: "join", room: "lobby", since: "1-0" }]);
    await join.answer(replies({ id: join.lines[0]?.id, ok: {} }));
    await away.write(joined("lobby", "1-0"));
    const presence = await blocked.takes("POST");
    await presence.answer(replies({ id: presence.lines[0]?.id, ok: { total: 1 } }));
    expect((await asked).total).toBe(1);
    await tick(10_000); // long enough to try the home again, once this one has ended
    await away.end();
    await tick(500);
    expect((await blocked.opens()).request.path).toBe("/sse/chat/lobby?user=alice&since=1-0&stream=S");
  });

  test("is opened at the room's address again when the inbox's serves no rooms", async () => {
    const { blocked, room, asked, away } = await astray();
    asked.catch(() => {});
    const join = await blocked.takes("POST");
    await join.answer(
      replies({ id: join.lines[0]?.id, error: { code: "forbidden", message: "no rooms here" } }),
    );
    expect(away.request.signal?.aborted).toBe(true);
    expect((await blocked.takes("POST")).signal?.aborted).toBe(true); // the question, which comes too late
    expect((await blocked.takes("GET")).path).toBe("/sse/chat/lobby?user=alice&since=1-0&stream=S");
    expect(room.state).toBe("joining");
  });

  test("ends with the close code of its last event", async () => {
    const { blocked, write } = await inLobby();
    await write('event: close\ndata: {"code":4510,"reason":"a service has closed it"}\n\n');
    expect(blocked.heard.at(-1)).toBe("disconnected 4510");
  });

  test("to which too much is said ends as a socket does", async () => {
    const { blocked, room } = await inLobby();
    room.send("more than this server takes");
    const refused = new Response(JSON.stringify({ error: { code: "too_large" } }), { status: 413 });
    await (await blocked.takes("POST")).answer(refused);
    expect(blocked.heard.at(-1)).toBe("disconnected 1009");
    expect(room.pending).toMatchObject([{ state: "queued" }]);
  });

  test("that breaks off comes back", async () => {
    const { blocked, end } = await inLobby();
    await end();
    expect(blocked.heard.at(-1)).toBe("connecting 1006");
    await tick(500);
    await blocked.opens();
  });

  test("lets go of all that is under way when the chat disconnects", async () => {
    const { blocked, room, request } = await inLobby();
    room.presence().catch(() => {});
    const post = await blocked.takes("POST");
    expect([request.signal?.aborted, post.signal?.aborted]).toEqual([false, false]);
    blocked.chat.disconnect();
    expect([request.signal?.aborted, post.signal?.aborted]).toEqual([true, true]);
  });

  test("lives by its comments alone", async () => {
    const { blocked, write } = await inLobby();
    for (let i = 0; i < 10; i++) {
      await tick(25_000);
      await write(":\n\n");
    }
    expect(blocked.requests).toEqual([]);
    expect(blocked.chat.state).toBe("connected");
    blocked.chat.disconnect();
    await tick(60_000);
    expect(blocked.requests).toEqual([]);
  });

  test("that is refused says why", async () => {
    const blocked = new Blocked({ transport: "sse" });
    const joined = expect(blocked.chat.room("secret").join()).rejects.toMatchObject({
      code: "forbidden",
      message: "not you",
    });
    const refused = { error: { code: "forbidden", message: "not you" } };
    await (await blocked.takes("GET")).answer(new Response(JSON.stringify(refused), { status: 403 }));
    await joined;
    expect((await blocked.takes("GET")).path).toBe("/sse/inbox?user=alice&stream=S");
  });

  test("shows the newest token with each request", async () => {
    let asked = 0;
    const { blocked, write } = await inLobby({ user: "", getToken: () => `t${++asked}` });
    void blocked;
    await write(HELLO.replace('"ping_s"', '"expires_in_ms":10000,"ping_s"'));
    await tick(5000);
    const auth = await blocked.takes("POST");
    expect(auth.headers.get("Authorization")).toBe("Bearer t1");
    expect(auth.lines[0]).toMatchObject({ cmd: "auth", token: "t2" });
    await auth.answer(replies({ id: auth.lines[0]?.id, ok: { expires_in_ms: 600_000 } }));
    blocked.chat.rooms().catch(() => {});
    expect((await blocked.takes("POST")).headers.get("Authorization")).toBe("Bearer t2");
  });
});
