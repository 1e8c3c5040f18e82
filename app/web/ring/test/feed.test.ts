import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Feed, type Picture } from "../src/feed";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const state = { now: 1, by: "1111", alone: false, nodes: [], events: [], haproxy: {}, ring: {} };

/** watch runs a feed whose node answers by path; a missing path never does. */
function watch(answers: Record<string, () => Response>) {
  const asked: string[] = [];
  let last: Picture | undefined;
  const ask = (url: unknown, init?: RequestInit) => {
    const path = String(url);
    asked.push(path);
    const answer = answers[path];
    if (answer) return Promise.resolve(answer());
    return new Promise<Response>((_, reject) => {
      init?.signal?.addEventListener("abort", () => reject(new Error("timeout")));
    });
  };
  // AbortSignal.timeout knows nothing of fake timers.
  vi.spyOn(AbortSignal, "timeout").mockImplementation((ms) => {
    const c = new AbortController();
    setTimeout(() => c.abort(), ms);
    return c.signal;
  });
  const feed = new Feed(
    (p) => {
      last = p;
    },
    ask as typeof fetch,
  );
  feed.start();
  return { feed, asked, answers, picture: () => last as Picture };
}

const json =
  (body: unknown, status = 200) =>
  () =>
    new Response(JSON.stringify(body), { status });

describe("the feed", () => {
  it("asks again and again, and once for the history", async () => {
    const w = watch({ "/ring/state": json(state), "/ring/history": json({ 1111: [], 2222: null }) });
    await vi.advanceTimersByTimeAsync(5000);
    expect(w.asked.filter((a) => a === "/ring/state")).toHaveLength(7);
    expect(w.asked.filter((a) => a === "/ring/history")).toHaveLength(1);
    expect(w.picture()).toMatchObject({ stale: false, state });
    w.feed.stop();
    await vi.advanceTimersByTimeAsync(5000);
    expect(w.asked).toHaveLength(8);
  });

  it("is stale when nothing has come for more than three seconds, keeps the picture, and comes back", async () => {
    const w = watch({ "/ring/state": json(state), "/ring/history": json({}) });
    await vi.advanceTimersByTimeAsync(1000);
    delete w.answers["/ring/state"];
    await vi.advanceTimersByTimeAsync(3000);
    expect(w.picture().stale).toBe(false);
    await vi.advanceTimersByTimeAsync(1000);
    expect(w.picture()).toMatchObject({ stale: true, state, silence: 3750 });
    w.answers["/ring/state"] = json(state);
    await vi.advanceTimersByTimeAsync(3000);
    expect(w.picture().stale).toBe(false);
  });

  it("is stale when the node answers with an error", async () => {
    const w = watch({ "/ring/state": json({ error: {} }, 500) });
    await vi.advanceTimersByTimeAsync(4000);
    expect(w.picture()).toMatchObject({ stale: true, state: null });
  });

  it("asks one question at a time", async () => {
    const w = watch({});
    await vi.advanceTimersByTimeAsync(2400);
    expect(w.asked).toEqual(["/ring/state"]);
    await vi.advanceTimersByTimeAsync(1000);
    expect(w.asked).toEqual(["/ring/state", "/ring/state"]);
  });

  it("looks for a room again and again, and says why there is none", async () => {
    const w = watch({
      "/ring/state": json(state),
      "/ring/history": json({}),
      "/ring/rooms/lobby": json({ room: "lobby", text: "here" }),
      "/ring/rooms/%2F": json({ error: { message: "a room is named otherwise" } }, 400),
    });
    w.feed.look("lobby");
    await vi.advanceTimersByTimeAsync(5000);
    expect(w.asked.filter((a) => a.endsWith("lobby")).length).toBeGreaterThanOrEqual(3);
    expect(w.picture()).toMatchObject({ room: "lobby", found: { text: "here" }, wrong: "" });
    w.feed.look("/");
    await vi.advanceTimersByTimeAsync(100);
    expect(w.picture()).toMatchObject({ room: "/", found: null, wrong: "A room is named otherwise." });
    await vi.advanceTimersByTimeAsync(10_000);
    expect(w.asked.filter((a) => a === "/ring/rooms/%2F")).toHaveLength(1); // the answer stays the same
    w.feed.look("");
    const before = w.asked.filter((a) => a.includes("/rooms/")).length;
    await vi.advanceTimersByTimeAsync(5000);
    expect(w.asked.filter((a) => a.includes("/rooms/"))).toHaveLength(before);
    expect(w.picture()).toMatchObject({ room: "", found: null, wrong: "" });
  });

  it("keeps what it has found of a room while the node does not answer", async () => {
    const w = watch({
      "/ring/state": json(state),
      "/ring/history": json({}),
      "/ring/rooms/lobby": json({ room: "lobby", text: "here" }),
    });
    w.feed.look("lobby");
    await vi.advanceTimersByTimeAsync(100);
    delete w.answers["/ring/rooms/lobby"];
    await vi.advanceTimersByTimeAsync(5000);
    expect(w.picture()).toMatchObject({ found: { text: "here" }, wrong: "The node does not answer." });
  });
});
