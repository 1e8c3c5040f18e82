import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ChatError, type TokenReason } from "../src/index.js";
import { Stage, tick } from "./stage.js";

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 });
  vi.spyOn(Math, "random").mockReturnValue(0);
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** A stage whose tokens are t1, t2, …, and why each was asked for. */
function withTokens(): { stage: Stage; asked: TokenReason[] } {
  const asked: TokenReason[] = [];
  const getToken = (why: TokenReason) => `t${asked.push(why)}`;
  return { stage: new Stage({ getToken }), asked };
}

const expired = { status: 401, error: { code: "unauthorized", message: "the token has expired" } };

describe("a token", () => {
  test("is fetched once, and used again after a broken connection", async () => {
    const { stage, asked } = withTokens();
    stage.chat.connect();
    const socket = await stage.socket();
    expect(socket.protocols[1]).toBe("bearer.t1");
    socket.hello();
    await socket.ends(1006);
    await tick(500);
    expect((await stage.socket()).protocols[1]).toBe("bearer.t1");
    expect(asked).toEqual(["first"]);
    stage.chat.disconnect();
    expect(vi.getTimerCount()).toBe(0);
  });

  test("is shared by connections that want it at once", async () => {
    const asked: TokenReason[] = [];
    const getToken = async (why: TokenReason) => {
      await new Promise((done) => setTimeout(done, 100));
      return `t${asked.push(why)}`;
    };
    const stage = new Stage({ getToken });
    stage.room("big", { dedicated: true }).join();
    await tick(100);
    expect(stage.sockets.map(({ protocols }) => protocols[1])).toEqual(["bearer.t1", "bearer.t1"]);
  });

  test("is renewed, and replaced, once for all connections", async () => {
    const { stage, asked } = withTokens();
    stage.room("big", { dedicated: true }).join();
    await tick();
    const both = [...stage.sockets];
    for (const socket of both) socket.hello({ expires_in_ms: 120_000, ping_s: 3600 });
    await tick(60_000);
    for (const socket of both) {
      while (socket.commands[0]?.cmd !== "auth") socket.commands.shift();
      expect(await socket.answers("auth", { expires_in_ms: 120_000 })).toMatchObject({ token: "t2" });
    }
    for (const socket of both) await socket.ends(4501);
    await tick(1000);
    const [a, b] = stage.sockets.slice(2);
    expect([a?.protocols[1], b?.protocols[1]]).toEqual(["bearer.t3", "bearer.t3"]);
    expect(asked).toEqual(["first", "expiring", "refused"]);
  });

  test("is renewed a minute before its end, over the same connection", async () => {
    const { stage, asked } = withTokens();
    stage.chat.connect();
    const socket = (await stage.socket()).hello({ expires_in_ms: 180_000, ping_s: 3600 });
    await tick(119_999);
    expect(socket.commands).toEqual([]);
    await tick(1);
    expect(await socket.answers("auth", { expires_in_ms: 600_000 })).toMatchObject({ token: "t2" });
    expect(asked).toEqual(["first", "expiring"]);
    expect(stage.chat.session?.expiresAt).toBe(Date.now() + 600_000);
    await tick(540_000);
    expect(await socket.answers("auth", { expires_in_ms: 600_000 })).toMatchObject({ token: "t3" });
  });

  test("that lasts for seconds is renewed at half its time", async () => {
    const { stage } = withTokens();
    stage.chat.connect();
    const socket = (await stage.socket()).hello({ expires_in_ms: 10_000 });
    await tick(5000);
    await socket.takes("auth");
  });

  test("that is no good is asked for once more, and then the old one lasts to its end", async () => {
    const { stage, asked } = withTokens();
    stage.chat.connect();
    const socket = (await stage.socket()).hello({ expires_in_ms: 120_000, ping_s: 3600 });
    await tick(60_000);
    await socket.refuses("auth", "bad_token");
    await tick(1000);
    expect(await socket.refuses("auth", "bad_token")).toMatchObject({ token: "t3" });
    await tick(30_000);
    expect(socket.commands).toEqual([]);
    expect(asked).toEqual(["first", "expiring", "refused"]);
    expect(stage.hears("error ")).toEqual(["error code=bad_token", "error code=bad_token"]);
    await socket.ends(4501);
    expect((await stage.socket()).protocols[1]).toBe("bearer.t4");
  });

  test("that has expired on the way is replaced at once", async () => {
    const { stage, asked } = withTokens();
    stage.chat.connect();
    await (await stage.socket()).hello().ends(4501, "the token has expired");
    await tick();
    const socket = await stage.socket();
    expect(socket.protocols[1]).toBe("bearer.t2");
    expect(asked).toEqual(["first", "refused"]);
    socket.hello();
    expect(stage.chat.state).toBe("connected");
  });

  test("whose end is known is not shown after it", async () => {
    const { stage, asked } = withTokens();
    stage.chat.connect();
    await (await stage.socket()).hello({ expires_in_ms: 400 }).ends(1006);
    await tick(500);
    expect((await stage.socket()).protocols[1]).toBe("bearer.t2");
    expect(asked).toEqual(["first", "expiring"]);
  });

  test("refused twice in a row is the end, and says so", async () => {
    const { stage, asked } = withTokens();
    stage.plain = expired;
    const ready = stage.chat.ready();
    await (await stage.socket()).ends(1006);
    await tick();
    await (await stage.socket()).ends(1006);
    await expect(ready).rejects.toMatchObject({
      code: "unauthorized",
      message: expect.stringContaining("the token has expired"),
    });
    expect(asked).toEqual(["first", "refused"]);
    expect(stage.hears("final=true").length).toBe(1);
    await tick(60_000);
    expect(stage.sockets.length).toBe(2);
  });

  test("of another user ends the chat, before anything of the first one is said in that name", async () => {
    const { stage } = withTokens();
    const room = stage.room("lobby", { history: 0 });
    room.join();
    const socket = (await stage.socket()).hello().joined("lobby", "1-0");
    room.send("by alice", { key: "a" });
    await socket.ends(4501);
    const next = (await stage.socket()).hello({ user: "bob" }).joined("lobby", "1-0");
    await tick(60_000);
    expect(stage.chat.state).toBe("disconnected");
    expect(stage.hears("final=true")[0]).toContain("error=forbidden");
    expect(next.commands).toEqual([]);
    expect(stage.sockets.length).toBe(2);
  });

  test("that cannot be renewed ends the chat when it is refused", async () => {
    const stage = new Stage({ token: "t" });
    stage.plain = expired;
    const ready = stage.chat.ready();
    await (await stage.socket()).ends(1006);
    await expect(ready).rejects.toMatchObject({ code: "unauthorized", message: "the token has expired" });
  });

  test("that is accepted and expires at once, again and again, makes nobody hammer", async () => {
    const { stage } = withTokens();
    stage.chat.connect();
    for (let i = 0; i < 3; i++) {
      await (await stage.socket()).hello().ends(4501);
      await tick();
    }
    expect(stage.sockets.length).toBe(2);
    await tick(500);
    expect(stage.sockets.length).toBe(3);
  });
});

describe("getToken", () => {
  test("that throws is asked again, later and later", async () => {
    let asked = 0;
    const getToken = () => {
      if (++asked < 3) throw new Error("no network");
      return "t";
    };
    const stage = new Stage({ getToken });
    stage.chat.connect();
    await tick();
    expect(stage.hears()).toEqual([
      "state state=connecting",
      "error code=token",
      "state state=connecting retryAt=1000500 reason=no network error=token",
    ]);
    await tick(500);
    expect(asked).toBe(2);
    await tick(500);
    expect((await stage.socket()).protocols[1]).toBe("bearer.t");
  });

  test("that throws for good ends the chat", async () => {
    const getToken = () => {
      throw new ChatError("logged_out", "log in first");
    };
    const stage = new Stage({ getToken });
    await expect(stage.chat.ready()).rejects.toMatchObject({ code: "logged_out" });
    expect(stage.chat.state).toBe("disconnected");
  });

  test("that gives none ends the chat, too", async () => {
    const stage = new Stage({ getToken: () => "" });
    await expect(stage.chat.ready()).rejects.toMatchObject({ code: "unauthorized" });
  });

  test("that never answers is asked again", async () => {
    let asked = 0;
    const getToken = () => (++asked < 2 ? new Promise<string>(() => {}) : "t");
    const stage = new Stage({ getToken });
    stage.chat.connect();
    await tick(30_500);
    expect((await stage.socket()).protocols[1]).toBe("bearer.t");
  });

  test("that throws while the token still lasts does not end the connection", async () => {
    let asked = 0;
    const getToken = () => {
      if (++asked === 2) throw new Error("no network");
      return `t${asked}`;
    };
    const stage = new Stage({ getToken });
    stage.chat.connect();
    const socket = (await stage.socket()).hello({ expires_in_ms: 120_000, ping_s: 3600 });
    await tick(60_500);
    expect(await socket.answers("auth", { expires_in_ms: 120_000 })).toMatchObject({ token: "t3" });
    expect(stage.chat.state).toBe("connected");
  });
});
