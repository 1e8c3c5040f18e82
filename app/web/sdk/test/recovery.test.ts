import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Room } from "../src/index.js";
import { message, type Socket, Stage, tick } from "./stage.js";

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 });
  vi.spyOn(Math, "random").mockReturnValue(0);
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** A room in which 1-0 was heard, and what follows a return that the node cannot make good. */
async function back(pos: string): Promise<{ stage: Stage; room: Room; socket: Socket }> {
  const stage = new Stage();
  const { room, socket } = await stage.inRoom("lobby", {}, "state");
  await socket.ends(1006);
  await tick(500);
  const next = (await stage.socket()).hello().joined("lobby", pos);
  stage.hears();
  return { stage, room, socket: next };
}

const range = (from: number, to: number, epoch = 1) =>
  Array.from({ length: to - from + 1 }, (_, i) => message("lobby", `${epoch}-${from + i}`));

/** What is heard of the room, as kinds and positions. */
const short = (lines: string[]): string[] =>
  lines
    .filter((line) => line.startsWith("lobby "))
    .map((line) => {
      const kind = line.split(" ")[1];
      if (kind === "message") return `${/ pos=(\S+)/.exec(line)?.[1]}${line.endsWith("true") ? "" : " live"}`;
      return line.slice(6);
    });

describe("what a node does not hold any more", () => {
  test("is read from history, page by page, before what is said meanwhile", async () => {
    const { stage, room, socket } = await back("1-6");
    socket.message("lobby", "1-7");
    expect(await socket.answers("history", { messages: range(1, 3), more: true })).toMatchObject({
      after: "1-0",
      limit: 256,
    });
    socket.message("lobby", "1-8");
    expect(await socket.answers("history", { messages: range(4, 7), more: false })).toMatchObject({
      after: "1-3",
    });
    expect(short(stage.hears())).toEqual([
      "1-1",
      "1-2",
      "1-3",
      "1-4",
      "1-5",
      "1-6",
      "1-7 live",
      "1-8 live",
      "recovered complete=true missed=7",
    ]);
    expect(room.position).toBe("1-8");
  });

  test("is not read beyond where the room was joined", async () => {
    const { stage, socket } = await back("1-2");
    socket.message("lobby", "1-3");
    await socket.answers("history", { messages: range(1, 2), more: true });
    expect(socket.commands).toEqual([]);
    expect(short(stage.hears())).toEqual(["1-1", "1-2", "1-3 live", "recovered complete=true missed=2"]);
  });

  test("and is no longer kept is a gap", async () => {
    const { stage, socket } = await back("1-6");
    await socket.answers("history", { messages: range(4, 6), more: false });
    expect(short(stage.hears())).toEqual([
      "gap after=1-0 before=1-4",
      "1-4",
      "1-5",
      "1-6",
      "recovered complete=false missed=3",
    ]);
  });

  test("and is gone altogether is a gap, too", async () => {
    const { stage, room, socket } = await back("1-6");
    await socket.answers("history", { messages: [], more: false });
    expect(short(stage.hears())).toEqual(["gap after=1-0 before=1-6", "recovered complete=false missed=0"]);
    expect(room.position).toBe("1-6");
  });

  test("and is too much ends in a gap and the newest page", async () => {
    const { stage, socket } = await back("1-9000");
    for (let page = 0; page < 9; page++) {
      await socket.answers("history", { messages: range(page * 256 + 1, page * 256 + 256), more: true });
    }
    const newest = await socket.answers("history", { messages: range(8999, 9000), more: true });
    expect(newest).not.toHaveProperty("after");
    await tick();
    expect(socket.commands).toEqual([]);
    const heard = short(stage.hears());
    expect(heard.slice(-5)).toEqual([
      "1-2304",
      "gap after=1-2304 before=1-8999",
      "1-8999",
      "1-9000",
      `recovered complete=false missed=${9 * 256 + 2}`,
    ]);
  });

  test("and is just not too much has no gap where the newest page begins", async () => {
    const { stage, room, socket } = await back("1-2310");
    for (let page = 0; page < 9; page++) {
      await socket.answers("history", { messages: range(page * 256 + 1, page * 256 + 256), more: true });
    }
    await socket.answers("history", { messages: range(2055, 2310), more: true });
    expect(short(stage.hears()).slice(-2)).toEqual(["1-2310", "recovered complete=true missed=2310"]);
    expect(room.position).toBe("1-2310");
  });

  test("is read on after a temporary error", async () => {
    const { stage, socket } = await back("1-1");
    await socket.refuses("history", "rate_limited", { temporary: true, retry_after_ms: 340 });
    await tick(340);
    await socket.answers("history", { messages: range(1, 1), more: false });
    expect(short(stage.hears())).toEqual(["1-1", "recovered complete=true missed=1"]);
  });

  test("is a gap where the token allows no history", async () => {
    const { stage, room, socket } = await back("1-6");
    socket.message("lobby", "1-7");
    await socket.refuses("history", "forbidden");
    expect(short(stage.hears())).toEqual([
      "gap after=1-0 before=1-6",
      "1-7 live",
      "recovered complete=false missed=0",
    ]);
    expect(room.position).toBe("1-7");
  });

  test("goes on where it came to when the connection breaks in between", async () => {
    const { stage, room, socket } = await back("1-6");
    socket.message("lobby", "1-7");
    await socket.answers("history", { messages: range(1, 3), more: true });
    await socket.ends(1006);
    expect(room.position).toBe("1-3");
    await tick(500);
    const next = await stage.socket();
    expect(next.path).toContain("since=1-3");
    next.hello().joined("lobby", "1-7", { recovered: true, missed: 4 });
    for (const push of range(4, 7)) next.push(push);
    expect(short(stage.hears())).toEqual([
      "1-1",
      "1-2",
      "1-3",
      "1-4",
      "1-5",
      "1-6",
      "1-7",
      "recovered complete=true missed=4",
    ]);
  });

  test("is read instead when too much would have to wait, at a first join, too", async () => {
    const stage = new Stage();
    const room = stage.room("lobby", { history: 2 }, "state");
    room.join();
    const socket = (await stage.socket()).hello().joined("lobby", "1-2");
    const { id } = await socket.takes("history");
    for (const push of range(3, 1100)) socket.push(push);
    socket.push({ id, ok: { messages: range(1, 2), more: false } });
    for (let from = 3; from < 1003; from += 256) {
      await socket.answers("history", { messages: range(from, from + 255), more: true });
    }
    expect(short(stage.hears())).toEqual(["1-1", "1-2", ...range(3, 1100).map(({ pos }) => `${pos} live`)]);
    expect(room.position).toBe("1-1100");
  });

  test("is read instead when too much would have to wait", async () => {
    const { stage, room, socket } = await back("1-2");
    for (const push of range(3, 1200)) socket.push(push);
    for (let from = 1; from < 1003; from += 256) {
      const to = Math.min(from + 255, 1200);
      await socket.answers("history", { messages: range(from, to), more: to < 1200 });
    }
    const heard = short(stage.hears());
    expect(heard.length).toBe(1201);
    expect(heard.filter((one) => one.startsWith("gap"))).toEqual([]);
    expect(room.position).toBe("1-1200");
  });
});

describe("a listener", () => {
  test("may leave as soon as the room is joined, and nothing is read", async () => {
    const stage = new Stage();
    const room = stage.room("lobby");
    room.on("state", ({ state }) => state === "joined" && room.leave());
    room.join();
    const socket = (await stage.socket()).hello().joined("lobby", "1-3");
    await socket.answers("leave");
    await tick();
    expect(socket.commands).toEqual([]);
  });

  test("may leave in the middle of what was missed, and hears no more", async () => {
    const { stage, room, socket } = await back("1-3");
    room.on("message", ({ pos }) => {
      if (pos === "1-2") room.leave();
    });
    await socket.answers("history", { messages: range(1, 3), more: false });
    expect(short(stage.hears())).toEqual(["1-1", "1-2"]);
    expect(room.state).toBe("left");
  });
});

describe("a message", () => {
  test("is heard once, whatever comes again", async () => {
    const stage = new Stage();
    const { socket } = await stage.inRoom("lobby");
    for (const pos of ["1-1", "1-2", "1-2", "1-1", "1-3"]) socket.message("lobby", pos);
    expect(short(stage.hears())).toEqual(["1-1 live", "1-2 live", "1-3 live"]);
  });

  test("of which the server says that it is missing while older ones are read, is one gap", async () => {
    const { stage, socket } = await back("1-1");
    socket.push({ push: "gap", room: "lobby", after: "1-1", before: "1-5" }).message("lobby", "1-5");
    await socket.answers("history", { messages: range(1, 1), more: false });
    expect(short(stage.hears())).toEqual([
      "1-1",
      "gap after=1-1 before=1-5",
      "1-5 live",
      "recovered complete=true missed=1",
    ]);
  });

  test("is remembered for as long as screens are, not for ever", async () => {
    const stage = new Stage();
    const { socket } = await stage.inRoom("lobby");
    for (const push of range(1, 2001)) socket.push(push);
    stage.hears();
    socket.push({ push: "reset", room: "lobby", lost: "1-2001", pos: "2-0" });
    socket.message("lobby", "2-0", { key: "k1-1" }).message("lobby", "2-1", { key: "k1-2001" });
    expect(short(stage.hears()).slice(1)).toEqual(["2-0 live", "moved pos=2-1 from=bob key=k1-2001 ts=1000"]);
  });

  test("of which the server says that it is missing, is a gap", async () => {
    const stage = new Stage();
    const { socket } = await stage.inRoom("lobby");
    socket.push({ push: "gap", room: "lobby", after: "1-0", before: "1-5" }).message("lobby", "1-5");
    expect(short(stage.hears())).toEqual(["gap after=1-0 before=1-5", "1-5 live"]);
  });
});

describe("a log that has lost its tail", () => {
  test("moves the messages that come again, and lets new ones through at lower positions", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    socket.message("lobby", "1-1", { key: "a" }).message("lobby", "1-2", { key: "b" });
    stage.hears();
    socket.push({ push: "reset", room: "lobby", lost: "1-2", pos: "1-1" });
    socket.message("lobby", "1-1", { key: "c", data: "new" }).message("lobby", "1-2", { key: "b" });
    socket.message("lobby", "1-3", { key: "b", ts: 999_000, data: "a key used again" });
    expect(stage.hears()).toEqual([
      "lobby reset lost=1-2 pos=1-1",
      "lobby message room=lobby pos=1-1 from=bob key=c ts=1000 data=new recovered=false",
      "lobby message room=lobby pos=1-3 from=bob key=b ts=999000 data=a key used again recovered=false",
    ]);
    expect(room.position).toBe("1-3");
  });

  test("while what was missed is still coming ends that", async () => {
    const stage = new Stage();
    const room = stage.room("lobby", { since: "1-0" }, "state", "pending");
    room.join();
    const socket = (await stage.socket()).hello().joined("lobby", "1-2", { recovered: true, missed: 2 });
    socket.message("lobby", "1-1").push({ push: "reset", room: "lobby", lost: "1-2", pos: "2-0" });
    expect(short(stage.hears())).toEqual([
      "1-1",
      "reset lost=1-2 pos=2-0",
      "recovered complete=false missed=1",
    ]);
    room.send("hi", { key: "a" });
    await socket.takes("publish");
  });

  test("in a new epoch says where they are", async () => {
    const stage = new Stage();
    const { socket } = await stage.inRoom("lobby");
    socket.message("lobby", "1-1", { key: "a" }).message("lobby", "1-2", { key: "b" });
    stage.hears();
    socket.push({ push: "reset", room: "lobby", lost: "1-2", pos: "2-0" });
    socket.message("lobby", "2-0", { key: "b" }).message("lobby", "2-1", { key: "c" });
    expect(stage.hears()).toEqual([
      "lobby reset lost=1-2 pos=2-0",
      "lobby moved pos=2-0 from=bob key=b ts=1000",
      "lobby message room=lobby pos=2-1 from=bob key=c ts=1000 data=2-1 recovered=false",
    ]);
  });

  test("has the client come back to what follows, though nothing of it was heard yet", async () => {
    for (const [pos, since] of [
      ["1-1", "1-0"],
      ["2-0", "1-18446744073709551615"],
    ]) {
      const stage = new Stage();
      const { socket } = await stage.inRoom("lobby");
      socket.message("lobby", "1-1").message("lobby", "1-2");
      socket.push({ push: "reset", room: "lobby", lost: "1-2", pos });
      await socket.ends(1006);
      await tick(500);
      expect((await stage.socket()).path).toContain(`since=${since}`);
    }
  });

  test("while the client was away is read anew, in the epoch that has begun", async () => {
    const { stage, socket } = await back("2-1");
    await socket.answers("history", { messages: range(0, 1, 2), more: false });
    expect(short(stage.hears())).toEqual(["2-0", "2-1", "recovered complete=true missed=2"]);
  });

  test("so that the client is ahead of it, is a reset", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    for (const push of range(1, 5)) socket.push(push);
    await socket.ends(1006);
    await tick(500);
    stage.hears();
    const next = (await stage.socket()).hello().joined("lobby", "1-3");
    const again = [...range(0, 2), message("lobby", "1-3", { key: "other", from: "carol" })];
    const asked = await next.answers("history", { messages: again, more: false });
    expect(asked).not.toHaveProperty("after");
    next.message("lobby", "1-4", { key: "more" });
    expect(stage.hears("lobby").slice(1)).toEqual([
      "lobby reset lost=1-5 pos=1-3",
      "lobby message room=lobby pos=1-0 from=bob key=k1-0 ts=1000 data=1-0 recovered=true", // never heard before
      "lobby message room=lobby pos=1-3 from=carol key=other ts=1000 data=1-3 recovered=true",
      "lobby recovered complete=false missed=4",
      "lobby message room=lobby pos=1-4 from=bob key=more ts=1000 data=1-4 recovered=false",
    ]);
    expect(room.position).toBe("1-4");
  });
});

describe("what was read from history", () => {
  test("and comes again after a reset has moved, and what comes for the first time is heard", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    const asked = room.history();
    await socket.answers("history", {
      messages: [message("lobby", "1-0", { key: "old" }), message("lobby", "1-1")],
      more: false,
    });
    await asked;
    socket.message("lobby", "1-1"); // the answer was ahead of it
    socket
      .push({ push: "reset", room: "lobby", lost: "1-1", pos: "2-0" })
      .message("lobby", "2-0", { key: "old" });
    expect(stage.hears().map((line) => line.split(" ").slice(1, 4).join(" "))).toEqual([
      "message room=lobby pos=1-1",
      "reset lost=1-1 pos=2-0",
      "moved pos=2-0 from=bob",
    ]);
  });

  test("for a room that was left meanwhile is of no interest", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    for (const push of range(1, 5)) socket.push(push);
    await socket.ends(1006);
    await tick(500);
    const next = (await stage.socket()).hello().joined("lobby", "1-3");
    const { id } = await next.takes("history");
    stage.hears();
    room.leave();
    next.push({ id, ok: { messages: range(1, 3), more: false } });
    await tick();
    expect(stage.hears()).toEqual(["lobby state state=left"]);
    expect(room.position).toBe("1-5");
  });
});

describe("a change", () => {
  const target = { pos: "1-1", from: "bob", key: "k1-1", ts: 1000 };

  test("names the message that it changes, and who changed it", async () => {
    const stage = new Stage();
    const { socket } = await stage.inRoom("lobby");
    socket.message("lobby", "1-1");
    socket.message("lobby", "1-2", { data: "edited", about: { edits: target } });
    socket.message("lobby", "1-3", { from: "carol", data: null, about: { deletes: target } });
    const named = JSON.stringify(target);
    expect(stage.hears("change")).toEqual([
      `lobby change kind=edit target=${named} by=bob pos=1-2 ts=1000 data=edited`,
      `lobby change kind=delete target=${named} by=carol pos=1-3 ts=1000 data=null`,
    ]);
  });

  test("that comes before its message is not lost on it", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    const asked = room.history({ limit: 1 });
    const { id } = await socket.takes("history");
    // The answer was written before the edit, and comes behind it.
    socket.message("lobby", "1-2", { data: "edited", about: { edits: target } });
    socket.push({ id, ok: { messages: [message("lobby", "1-1")], more: false } });
    expect((await asked).messages).toEqual([
      { room: "lobby", ...target, data: "edited", edited: { pos: "1-2", ts: 1000 }, recovered: true },
    ]);
    const again = room.history({ limit: 1 });
    const { id: second } = await socket.takes("history");
    socket.message("lobby", "1-3", { data: null, from: "carol", about: { deletes: target } });
    const reply = message("lobby", "1-1", { about: { mentions: ["dave"] } });
    socket.push({ id: second, ok: { messages: [reply], more: false } });
    expect((await again).messages).toEqual(
      [
        {
          room: "lobby",
          ...target,
          data: null,
          edited: undefined,
          deleted: { pos: "1-3", ts: 1000, by: "carol" },
          recovered: true,
        },
      ].map(({ edited: _, ...rest }) => rest),
    );
  });

  test("does not take the place of a later one, of which history knows already", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    socket.message("lobby", "1-2", { data: "first", about: { edits: target } });
    const asked = room.history();
    const latest = message("lobby", "1-1", { data: "second", edited: { pos: "1-3", ts: 1000 } });
    await socket.answers("history", { messages: [latest], more: false });
    expect((await asked).messages[0]?.data).toBe("second");
  });

  test("of what was deleted since is told by the deletion alone", async () => {
    const stage = new Stage();
    const { socket } = await stage.inRoom("lobby");
    const deleted = { pos: "1-3", ts: 1000, by: "bob" };
    socket.message("lobby", "1-1", { data: null, deleted });
    socket.message("lobby", "1-2", { data: null, deleted, about: { edits: target } });
    socket.message("lobby", "1-3", { data: null, about: { deletes: target } });
    expect(stage.hears().map((one) => one.split(" ").slice(1, 3).join(" "))).toEqual([
      "message room=lobby",
      "change kind=delete",
    ]);
  });

  test("that comes again after a reset is not told twice", async () => {
    const stage = new Stage();
    const { socket } = await stage.inRoom("lobby");
    socket.message("lobby", "1-1");
    socket.message("lobby", "1-2", { key: "e", data: "edited", about: { edits: target } });
    stage.hears();
    socket.push({ push: "reset", room: "lobby", lost: "1-2", pos: "2-0" });
    socket.message("lobby", "2-0", { key: "k1-1" });
    socket.message("lobby", "2-1", { key: "e", data: "edited", about: { edits: { ...target, pos: "2-0" } } });
    expect(stage.hears().map((one) => one.split(" ")[1])).toEqual(["reset", "moved"]);
  });

  test("of what the room is about is known and told", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    socket.message("lobby", "1-1", { from: "carol", data: { title: "Lobby" }, about: { describes: true } });
    expect(stage.hears()).toEqual(["lobby describe title=Lobby topic= by=carol"]);
    expect([room.title, room.topic]).toEqual(["Lobby", ""]);
  });
});

describe("history", () => {
  test("has messages only, and says where the next page begins", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    const asked = room.history({ before: "1-9", limit: 3 });
    const target = { pos: "1-7", from: "bob", key: "k1-7", ts: 1000 };
    const messages = [
      message("lobby", "1-6", { data: 1, about: { edits: target } }),
      message("lobby", "1-7"),
      message("lobby", "1-8", { about: { describes: true } }),
    ];
    const { before, limit } = await socket.answers("history", { messages, more: true });
    expect([before, limit]).toEqual(["1-9", 3]);
    expect(await asked).toEqual({
      messages: [{ room: "lobby", ...target, data: "1-7", recovered: true }],
      more: true,
      next: "1-6",
    });
  });

  test("is paged as it is read", async () => {
    const stage = new Stage();
    const { room, socket } = await stage.inRoom("lobby");
    const read: string[] = [];
    const reading = (async () => {
      for await (const { pos } of room.messages({ limit: 2 })) read.push(pos);
    })();
    expect(await socket.answers("history", { messages: range(3, 4), more: true })).not.toHaveProperty(
      "before",
    );
    expect(await socket.answers("history", { messages: range(1, 2), more: false })).toMatchObject({
      before: "1-3",
    });
    await reading;
    expect(read).toEqual(["1-4", "1-3", "1-2", "1-1"]);
    const forward = (async () => {
      for await (const { pos } of room.messages({ after: "1-0" })) read.push(pos);
    })();
    await socket.answers("history", { messages: range(1, 1), more: true });
    expect(await socket.answers("history", { messages: range(2, 2), more: false })).toMatchObject({
      after: "1-1",
    });
    await forward;
    expect(read.slice(4)).toEqual(["1-1", "1-2"]);
  });
});
