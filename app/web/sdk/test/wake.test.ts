import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Stage, tick } from "./stage.js";

let page: EventTarget & { hidden: boolean };

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 });
  vi.spyOn(Math, "random").mockReturnValue(0);
  page = Object.assign(new EventTarget(), { hidden: false });
  vi.stubGlobal("document", page);
  vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
  vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const tell = (event: string) => page.dispatchEvent(new Event(event));

describe("a page", () => {
  test("whose network is gone shows it at once, and one whose network is back does not wait", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    tell("offline");
    expect([stage.chat.state, room.state, socket.closed]).toEqual(["connecting", "joining", true]);
    expect(stage.hears(" retryAt")).toEqual([
      "state state=connecting retryAt=1000500 code=1006 reason=offline",
    ]);
    tell("online");
    await tick();
    expect(stage.sockets.length).toBe(2);
    tell("online"); // it is at it already
    await tick();
    expect(stage.sockets.length).toBe(2);
  });

  test("that wakes asks whether its connection still lives", async () => {
    for (const event of ["visibilitychange", "pageshow", "resume", "online"]) {
      const stage = new Stage();
      const { socket } = await stage.inRoom("lobby");
      tell(event);
      tell(event);
      await socket.takes("history");
      expect(socket.commands).toEqual([]);
      await tick(8000);
      expect(socket.closed, event).toBe(true);
      stage.chat.disconnect();
    }
  });

  test("that is hidden wakes nothing, and waits longer", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.999);
    const stage = new Stage();
    stage.chat.connect();
    page.hidden = true;
    let longest = 0;
    for (let i = 0; i < 10; i++) {
      await (await stage.socket()).ends(1006);
      const retryAt = Number(/retryAt=([\d.]+)/.exec(stage.hears("retryAt")[0] ?? "")?.[1]);
      longest = Math.max(longest, retryAt - Date.now());
      tell("visibilitychange");
      await tick(retryAt - Date.now());
    }
    expect(longest).toBeGreaterThan(50_000);
    expect(stage.sockets.length).toBe(11);
  });

  test("does not come before the server has said to", async () => {
    const stage = new Stage();
    stage.plain = { status: 503, error: { code: "unavailable", retry_after_ms: 4000 } };
    stage.chat.connect();
    await (await stage.socket()).ends(1006);
    tell("online");
    tell("visibilitychange");
    await tick(4499);
    expect(stage.sockets.length).toBe(1);
    await tick(1);
    expect(stage.sockets.length).toBe(2);
  });

  test("that has disconnected is left alone", async () => {
    const stage = new Stage();
    stage.chat.connect();
    (await stage.socket()).hello();
    stage.chat.disconnect();
    tell("online");
    tell("pageshow");
    await tick(60_000);
    expect(stage.sockets.length).toBe(1);
  });
});
