import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Chat, ChatError } from "../src/index.js";
import { Socket, Stage, tick } from "./stage.js";

beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
  vi.spyOn(Math, "random").mockReturnValue(0); // each wait is the shortest
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

describe("connecting", () => {
  test("goes through three states, and ready() tells of the session", async () => {
    const stage = new Stage();
    const { chat } = stage;
    expect(chat.state).toBe("disconnected");
    const ready = chat.ready(100_000);
    expect(chat.state).toBe("connecting");
    const socket = await stage.socket();
    expect(socket.url).toBe("wss://chat.example.com/ws/inbox?user=alice");
    expect(socket.protocols).toEqual(["chatring.v1"]);
    socket.hello({ expires_in_ms: 5000 });
    expect(await ready).toEqual({
      user: "alice",
      id: "s1",
      shard: "1111",
      transport: "websocket",
      expiresAt: 5000,
    });
    expect(chat.state).toBe("connected");
    chat.disconnect();
    expect(vi.getTimerCount()).toBe(0);
    expect(socket.closed).toBe(true);
    expect(stage.hears("state")).toEqual([
      "state state=connecting",
      "state state=connected",
      "state state=disconnected",
    ]);
    await tick(60_000);
    expect(stage.sockets.length).toBe(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("needs somebody to connect as, and an address", () => {
    expect(() => new Chat("https://chat.example.com", {})).toThrow(ChatError);
    expect(() => new Chat("https://chat.example.com", {})).toThrow(/getToken/);
    for (const url of [undefined, "", "localhost:8080", "chat.example.com", "/chat", "https://"]) {
      expect(() => new Chat(url, { user: "alice" })).toThrow(/where the cluster is/);
    }
  });

  test("shows a token as a subprotocol, and nobody's name in the address", async () => {
    const stage = new Stage({ token: "abc" });
    stage.chat.connect();
    const socket = await stage.socket();
    expect(socket.path).toBe("/ws/inbox");
    expect(socket.protocols).toEqual(["chatring.v1", "bearer.abc"]);
  });

  test("keeps the path under which the cluster is served", async () => {
    const urls: string[] = [];
    class Opened extends Socket {
      constructor(url: string) {
        super(url);
        urls.push(url);
      }
    }
    new Chat("wss://example.com/chat/", { user: "a", WebSocket: Opened, storage: null }).connect();
    await tick();
    expect(urls).toEqual(["wss://example.com/chat/ws/inbox?user=a"]);
  });

  test("gives up ready() at its time, and goes on", async () => {
    const stage = new Stage();
    const ready = stage.chat.ready(1000);
    await tick(1000);
    await expect(ready).rejects.toMatchObject({ code: "timeout", temporary: true });
    (await stage.socket()).hello();
    expect(stage.chat.state).toBe("connected");
  });
});

describe("coming back", () => {
  test("waits longer and longer, and forgets failures after a steady time", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.999);
    const stage = new Stage();
    stage.chat.connect();
    const waits: number[] = [];
    const fail = async (code: number) => {
      await (await stage.socket()).ends(code);
      const retryAt = Number(/retryAt=(\d+)/.exec(stage.hears("retryAt")[0] ?? "")?.[1]);
      waits.push(Math.round((retryAt - Date.now()) / 100) / 10);
      await tick(retryAt - Date.now());
    };
    for (let i = 0; i < 7; i++) await fail(1006);
    expect(waits).toEqual([1, 1.5, 2.5, 4.5, 8.5, 16.5, 20]);
    waits.length = 0;
    (await stage.socket()).hello();
    await fail(1006);
    expect(waits).toEqual([20]);
    (await stage.socket()).hello();
    await tick(10_000);
    waits.length = 0;
    await fail(1011);
    expect(waits).toEqual([1]);
  });

  test("is cut short by reconnect()", async () => {
    const stage = new Stage();
    stage.chat.connect();
    await (await stage.socket()).ends(1006);
    expect(stage.sockets.length).toBe(1);
    stage.chat.reconnect();
    (await stage.socket()).hello();
    expect(stage.sockets.length).toBe(2);
    expect(stage.chat.state).toBe("connected");
  });

  test("is later after far too much was sent", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.999);
    const stage = new Stage();
    stage.chat.connect();
    await (await stage.socket()).hello().ends(4429);
    await tick(8000);
    expect(stage.sockets.length).toBe(1);
    await tick(1000);
    expect(stage.sockets.length).toBe(2);
  });

  test("is not for codes that need another token, or show a fault of the client", async () => {
    for (const code of [1000, 1008, 1009, 4502, 4510]) {
      const stage = new Stage();
      stage.chat.connect();
      const socket = (await stage.socket()).hello();
      stage.hears();
      await socket.ends(code, "for people");
      expect(stage.hears()).toEqual([
        `state state=disconnected code=${code} reason=for people final=true error=closed`,
      ]);
      await expect(stage.chat.ready()).rejects.toMatchObject({ code: "closed", closeCode: code });
      await tick(60_000);
      expect(stage.sockets.length).toBe(1);
      stage.chat.connect(); // the user wants to come back
      (await stage.socket()).hello();
      expect(stage.chat.state).toBe("connected");
    }
  });

  test("rejects who waits for ready() at a final close", async () => {
    const stage = new Stage();
    const ready = stage.chat.ready();
    const socket = await stage.socket();
    await socket.ends(4510);
    await expect(ready).rejects.toMatchObject({ code: "closed" });
  });

  test("keeps to the span of a drain", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.5);
    const stage = new Stage();
    stage.chat.connect();
    const socket = (await stage.socket()).hello();
    socket.push({ push: "drain", reconnect_ms: [1000, 3000] });
    await tick(10);
    await socket.ends(1012, "drain: reconnect");
    await tick(1989);
    expect(stage.sockets.length).toBe(1);
    await tick(1);
    expect(stage.sockets.length).toBe(2);
  });

  test("comes at the drain's moment though nobody closes", async () => {
    const stage = new Stage();
    stage.chat.connect();
    const socket = (await stage.socket()).hello();
    socket.push({ push: "drain", reconnect_ms: [0, 100] });
    await tick();
    expect(socket.closed).toBe(true);
    expect(stage.sockets.length).toBe(2);
  });

  test("waits as long as the server says, whatever wakes the page", async () => {
    const stage = new Stage();
    stage.plain = {
      status: 503,
      error: { code: "unavailable", message: "busy", temporary: true, retry_after_ms: 4000 },
    };
    stage.chat.connect();
    await (await stage.socket()).ends(1006);
    expect(stage.hears("retryAt")).toEqual([
      "state state=connecting retryAt=4500 code=503 reason=busy error=unavailable",
    ]);
  });

  test("takes Retry-After of a proxy that knows no JSON", async () => {
    const stage = new Stage();
    stage.plain = { status: 429, headers: { "Retry-After": "7" } };
    stage.chat.connect();
    await (await stage.socket()).ends(1006);
    expect(stage.hears("retryAt")[0]).toContain("retryAt=7500 code=429");
  });
});

describe("what cannot be reached", () => {
  test("is final when the address is wrong", async () => {
    const stage = new Stage();
    stage.plain = {
      status: 403,
      error: { code: "bad_origin", message: "pages of this origin may not connect here" },
    };
    const ready = stage.chat.ready();
    await (await stage.socket()).ends(1006);
    await expect(ready).rejects.toMatchObject({ code: "bad_origin", temporary: false });
    expect(stage.chat.state).toBe("disconnected");
  });

  test("is tried again when nobody answers, or a handshake hangs", async () => {
    const stage = new Stage();
    stage.chat.connect();
    await stage.socket();
    await tick(8000);
    expect(stage.sockets[0]?.closed).toBe(true);
    await tick(500);
    expect(stage.sockets.length).toBe(2);
  });

  test("is no blocked socket when nothing at all gets through, however short the time", async () => {
    vi.stubGlobal("location", { origin: "https://www.example.com" });
    const silent = (_: unknown, init?: RequestInit) =>
      new Promise<Response>((_, reject) => {
        init?.signal?.addEventListener("abort", () => reject(new DOMException("", "AbortError")));
      });
    const stage = new Stage({ timeout: 1500, fetch: silent as typeof fetch });
    stage.chat.connect();
    await tick(30_000);
    expect(stage.sockets.length).toBeGreaterThan(4);
    expect(stage.hears("said nothing")).toEqual([]);
    vi.unstubAllGlobals();
  });

  test("is tried again when somebody else answers, whose network wants a login first", async () => {
    const stage = new Stage();
    stage.plain = { status: 200 };
    stage.chat.connect();
    await (await stage.socket()).ends(1006);
    await tick(500);
    (await stage.socket()).hello();
    expect(stage.chat.state).toBe("connected");
  });

  test("is left when it opens and says nothing", async () => {
    const stage = new Stage();
    stage.chat.connect();
    const socket = await stage.socket();
    socket.onopen?.({} as never);
    await tick(16_500);
    expect(socket.closed).toBe(true);
    expect(stage.sockets.length).toBe(2);
  });
});

describe("silence", () => {
  test("is asked about after two pings' time, and an unanswered question ends the connection", async () => {
    const stage = new Stage();
    stage.chat.connect();
    const socket = (await stage.socket()).hello({ ping_s: 10 });
    await tick(19_999);
    expect(socket.commands).toEqual([]);
    await tick(1);
    await socket.refuses("history", "not_joined"); // an error is a sign of life
    await tick(20_000);
    await socket.takes("history");
    await tick(8000);
    expect(socket.closed).toBe(true);
    expect(stage.hears("retryAt")[0]).toContain("reason=a reply did not come in time");
  });

  test("of one reply does not count while others come", async () => {
    const stage = new Stage();
    stage.chat.connect();
    const socket = (await stage.socket()).hello();
    const asked = [stage.chat.rooms(), stage.chat.rooms(), stage.chat.rooms()];
    for (const one of asked) {
      await tick(5000);
      await socket.answers("rooms", { rooms: [] });
      await one;
    }
    expect(stage.chat.state).toBe("connected");
  });
});

describe("listeners", () => {
  test("that throw are reported, and harm no other", async () => {
    const reported = vi.spyOn(console, "error").mockImplementation(() => {});
    const stage = new Stage();
    const fault = new Error("a listener's own");
    stage.chat.on("state", () => {
      throw fault;
    });
    stage.chat.on("state", async () => {
      throw fault;
    });
    let heard = 0;
    const off = stage.chat.on("state", () => heard++);
    stage.chat.connect();
    (await stage.socket()).hello();
    await tick();
    expect(heard).toBe(2);
    expect(reported.mock.calls).toEqual([[fault], [fault], [fault], [fault]]);
    off();
    stage.chat.disconnect();
    expect(heard).toBe(2);
  });

  test("may disconnect whenever they hear something, and then it stays so", async () => {
    for (const [of, state] of [
      ["chat", "connecting"],
      ["chat", "connected"],
      ["room", "joining"],
      ["room", "joined"],
      ["inbox", "joining"],
      ["waiting", "connecting"],
      ["reconnect", "joining"],
    ]) {
      const stage = new Stage();
      const room = stage.room("lobby", { history: 0 });
      room.join();
      const socket = await stage.socket();
      const end = ({ state: now }: { state: string }) => {
        if (now === state) stage.chat.disconnect();
      };
      if (of === "inbox") stage.chat.inbox?.on("state", end);
      if (of === "room" || of === "reconnect") room.on("state", end);
      if (of === "chat") stage.chat.on("state", end);
      if (of === "waiting") stage.chat.on("state", ({ retryAt }) => retryAt && stage.chat.disconnect());
      socket.hello().joined("lobby", "1-0");
      if (of === "reconnect") stage.chat.reconnect();
      else await socket.ends(1006);
      await tick(60_000);
      expect(stage.chat.state, `${of} ${state}`).toBe("disconnected");
      expect(vi.getTimerCount(), `${of} ${state}`).toBe(0);
      expect(stage.sockets.length).toBe(1);
    }
  });

  test("do not hear of frames that nobody knows", async () => {
    const stage = new Stage();
    stage.chat.connect();
    const socket = (await stage.socket()).hello({ colour: "blue" });
    stage.hears();
    socket
      .push({ push: "tomorrow", room: "lobby" })
      .push({ push: "later" })
      .push({ id: 99, ok: {} })
      .push({});
    expect(stage.hears()).toEqual([]);
    socket.onmessage?.({ data: "{" });
    socket.push({ error: { code: "bad_request", message: "a command is one JSON object" } });
    expect(stage.hears()).toEqual(["error code=bad_frame", "error code=bad_request"]);
    expect(stage.chat.state).toBe("connected");
  });
});
