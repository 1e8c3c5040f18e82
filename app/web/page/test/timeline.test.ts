import { describe, expect, test } from "vitest";
import type { Message } from "../../sdk/src";
import type { Draft, Timeline } from "../src/timeline";
import * as timeline from "../src/timeline";

const said = (pos: string, key: string, more: Partial<Message> = {}): Message => ({
  room: "lobby",
  pos,
  from: "ada",
  key,
  ts: 1_763_776_000_000,
  data: { text: key },
  recovered: false,
  ...more,
});

const all = (...messages: Message[]): Timeline =>
  messages.reduce((t, message) => timeline.live(t, message, "me"), timeline.nothing);

const shown = (t: Timeline) => t.entries.map(({ pos, from, key }) => `${pos} ${from} ${key}`);

const draft = (key: string, state: Draft["state"] = "queued", more: Partial<Draft> = {}): Draft => ({
  key,
  from: "me",
  ts: 1,
  data: { text: key },
  state,
  ...more,
});

describe("messages", () => {
  test("stand in the order of their positions, each once", () => {
    const t = all(said("7-0", "a"), said("7-2", "c"), said("7-1", "b"), said("7-2", "c"), said("7-10", "k"));
    expect(shown(t)).toEqual(["7-0 ada a", "7-1 ada b", "7-2 ada c", "7-10 ada k"]);
  });

  test("another epoch comes later, whatever the offset", () => {
    expect(shown(all(said("8-0", "b"), said("7-99", "a")))).toEqual(["7-99 ada a", "8-0 ada b"]);
  });

  test("after a reset a message comes again once, and another one may have its position", () => {
    const t = all(
      said("7-0", "a1"),
      said("7-1", "a2"),
      said("7-1", "b1", { from: "ben" }),
      said("8-0", "a2"),
    );
    expect(shown(t)).toEqual(["7-0 ada a1", "7-1 ben b1", "8-0 ada a2"]);
  });

  test("a message that is moved by a reset keeps what it says, at its new position", () => {
    const t = timeline.moved(all(said("7-0", "a"), said("7-1", "b")), {
      pos: "8-0",
      from: "ada",
      key: "a",
      ts: 1,
    });
    expect(shown(t)).toEqual(["7-1 ada b", "8-0 ada a"]);
    expect(t.entries[1]?.data).toEqual({ text: "a" });
  });

  test("a page that was read in a later state replaces what is shown, and an older copy does not", () => {
    const first = all(said("7-0", "a", { data: "teh" }));
    const edited = timeline.page(
      first,
      [said("7-0", "a", { data: "the", edited: { pos: "7-1", ts: 2 } })],
      {},
    );
    expect(edited.entries[0]).toMatchObject({ data: "the", edited: true });
    const again = timeline.live(edited, said("7-0", "a", { data: "teh" }), "me");
    expect(again.entries[0]).toMatchObject({ data: "the", edited: true });
  });
});

describe("edits and deletions", () => {
  const target = { pos: "7-0", from: "ada", key: "a", ts: 1 };
  const first = all(said("7-0", "a", { mentions: ["bob"] }));

  test("an edit changes the message that it is about", () => {
    const t = timeline.changed(first, { kind: "edit", target, data: { text: "better" } });
    expect(t.entries).toMatchObject([{ key: "a", data: { text: "better" }, edited: true }]);
  });

  test("a deletion leaves nothing of it, and no edit brings it back", () => {
    const gone = timeline.changed(first, { kind: "delete", target, data: null });
    expect(gone.entries[0]).toMatchObject({ data: null, deleted: true, mentions: undefined });
    const after = timeline.changed(gone, { kind: "edit", target, data: { text: "better" } });
    expect(after.entries[0]).toMatchObject({ data: null, deleted: true });
  });

  test("one about a message that is not shown changes nothing", () => {
    const other = { ...target, key: "z" };
    expect(timeline.changed(first, { kind: "edit", target: other, data: 1 })).toEqual(first);
  });
});

describe("gaps", () => {
  test("say how many messages are missing, and nothing where none is", () => {
    expect(timeline.gap(timeline.nothing, { after: "7-3", before: "7-4" }).marks).toEqual([]);
    const { marks } = timeline.gap(timeline.nothing, { after: "7-3", before: "7-9" });
    expect(marks).toMatchObject([{ kind: "gap", after: "7-3", text: "5 messages are missing here." }]);
  });

  test("a gap whose messages are all read is gone", () => {
    const t = timeline.gap(all(said("7-0", "a"), said("7-3", "d")), { after: "7-0", before: "7-3" });
    const id = t.marks[0]?.id ?? "";
    const full = timeline.filled(t, id, [said("7-1", "b"), said("7-2", "c"), said("7-3", "d")]);
    expect(shown(full)).toEqual(["7-0 ada a", "7-1 ada b", "7-2 ada c", "7-3 ada d"]);
    expect(full.marks).toEqual([]);
  });

  test("what the log no longer has stays marked, with nothing more to load", () => {
    const t = timeline.gap(all(said("7-0", "a"), said("7-3", "d")), { after: "7-0", before: "7-3" });
    const { marks } = timeline.filled(t, t.marks[0]?.id ?? "", [said("7-3", "d")]);
    expect(marks).toMatchObject([
      { after: "7-0", before: undefined, text: "What was said here is no longer in the log." },
    ]);
  });

  test("the same gap is marked once, and marks stay bounded", () => {
    let t = timeline.nothing;
    for (let i = 0; i < 200; i++) t = timeline.gap(t, { after: `7-${i * 10}`, before: `7-${i * 10 + 5}` });
    t = timeline.gap(t, { after: "7-1990", before: "7-1995" });
    expect(t.marks).toHaveLength(50);
    expect(t.marks.at(-1)?.after).toBe("7-1990");
  });
});

describe("drafts", () => {
  test("end when their message is heard", () => {
    const t = timeline.draft(timeline.nothing, draft("k"));
    expect(t.drafts).toHaveLength(1);
    expect(timeline.live(t, said("7-0", "k", { from: "ben" }), "me").drafts).toHaveLength(1);
    const heard = timeline.live(t, said("7-0", "k", { from: "me" }), "me");
    expect(heard.drafts).toEqual([]);
    expect(shown(heard)).toEqual(["7-0 me k"]);
  });

  test("end when their message is read on a page", () => {
    const t = timeline.draft(timeline.nothing, draft("k"));
    expect(timeline.page(t, [said("7-0", "k", { from: "me" })], {}).drafts).toEqual([]);
  });

  test("of a message that is in the log there is none", () => {
    const t = all(said("7-0", "k", { from: "me" }));
    expect(timeline.draft(t, draft("k", "sent")).drafts).toEqual([]);
  });

  test("what is new about one changes it in its place, and not when it was written", () => {
    let t = timeline.draft(timeline.nothing, draft("a", "queued", { ts: 5 }));
    t = timeline.draft(t, draft("b"));
    t = timeline.draft(t, draft("a", "failed", { ts: 9, error: "too long" }));
    expect(t.drafts).toMatchObject([{ key: "a", state: "failed", error: "too long", ts: 5 }, { key: "b" }]);
    expect(timeline.undraft(t, "a").drafts.map(({ key }) => key)).toEqual(["b"]);
  });
});

describe("bounds", () => {
  const ten = all(...Array.from({ length: 10 }, (_, i) => said(`7-${i}`, `k${i}`)));

  test("the newest are kept where the reader is at the end, and the rest can be read again", () => {
    const t = timeline.trimmed(ten, 4, "newest");
    expect(shown(t)).toEqual(["7-6 ada k6", "7-7 ada k7", "7-8 ada k8", "7-9 ada k9"]);
    expect(t.older).toBe("7-6");
    expect(t.newer).toBeUndefined();
  });

  test("the oldest are kept where the reader is far up, and what comes then is not shown", () => {
    const t = timeline.trimmed(ten, 4, "oldest");
    expect(t.newer).toBe("7-3");
    expect(shown(timeline.live(t, said("7-10", "k10"), "me"))).toHaveLength(4);
  });

  test("marks go with what they stand between", () => {
    const marked = timeline.gap(timeline.gap(ten, { after: "7-1", before: "7-4" }), {
      after: "7-8",
      before: "7-11",
    });
    expect(timeline.trimmed(marked, 4, "newest").marks.map(({ after }) => after)).toEqual(["7-8"]);
    expect(timeline.trimmed(marked, 4, "oldest").marks.map(({ after }) => after)).toEqual(["7-1"]);
  });

  test("what comes while the last page is on its way is not lost", () => {
    let t = timeline.trimmed(ten, 4, "oldest");
    t = timeline.live(t, said("7-10", "k10"), "me");
    t = timeline.live(t, said("7-11", "k11"), "me");
    const page = [4, 5, 6, 7, 8, 9, 10].map((i) => said(`7-${i}`, `k${i}`));
    const end = timeline.page(t, page, { newer: undefined });
    expect(end.entries.map(({ key }) => key)).toEqual(Array.from({ length: 12 }, (_, i) => `k${i}`));
    expect(end.late).toEqual([]);
  });

  test("to turn to another part shows that part alone", () => {
    const t = timeline.turnTo(ten, [said("3-1", "x"), said("3-2", "y")], { older: "3-1", newer: "3-2" });
    expect(shown(t)).toEqual(["3-1 ada x", "3-2 ada y"]);
  });

  test("to turn to the end keeps what came meanwhile", () => {
    const t = timeline.turnTo(ten, [said("7-4", "k4"), said("7-5", "k5")], {});
    expect(t.entries.map(({ key }) => key)).toEqual(["k4", "k5", "k6", "k7", "k8", "k9"]);
  });
});
