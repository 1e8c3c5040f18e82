// A room's messages in the order of their positions, each once, as pure functions: each takes
// a timeline and returns the next one. They know neither the page nor the SDK's connections.

import { compare, type Message, type Position, type Ref } from "../../sdk/src";
import { between, epoch, later } from "./position";

// An Entry is a message in the log, as far as it is shown.
export interface Entry extends Ref {
  readonly data: unknown;
  readonly replyTo?: Ref;
  readonly mentions?: readonly string[];
  readonly edited: boolean;
  readonly deleted: boolean;
}

// A Draft is a message of ours that is not in the log yet, or not known to be.
export interface Draft {
  readonly key: string;
  readonly from: string;
  readonly ts: number;
  readonly data: unknown;
  readonly replyTo?: Position;
  readonly mentions?: readonly string[];
  readonly state: "queued" | "sent" | "failed";
  readonly error?: string;
}

// A Mark is a note that stands after a position.
export interface Mark {
  readonly id: string;
  readonly kind: "gap" | "reset" | "moved";
  readonly after: Position;
  readonly before?: Position;
  readonly text: string;
}

export interface Timeline {
  readonly entries: readonly Entry[]; // in the order of their positions
  readonly drafts: readonly Draft[]; // in the order of sending
  readonly marks: readonly Mark[]; // in the order of their positions
  readonly older?: Position; // what stands before this is not shown; missing when nothing does
  readonly newer?: Position; // what stands behind this is not shown; missing when the end is
  readonly late: readonly Message[]; // what came while the end was not shown, as far as LATE goes
}

export const nothing: Timeline = { entries: [], drafts: [], marks: [], late: [] };

export const idOf = ({ from, key }: { from: string; key: string }): string => `${from} ${key}`;

interface Name {
  readonly from: string;
  readonly key: string;
}

const place = (entries: readonly Name[], { from, key }: Name): number =>
  entries.findIndex((entry) => entry.key === key && entry.from === from);

export const find = (t: Timeline, name: Name): Entry | undefined => t.entries[place(t.entries, name)];

const replace = <T>(items: readonly T[], at: number, item: T): T[] =>
  items.map((old, i) => (i === at ? item : old));
const without = <T>(items: readonly T[], at: number): T[] => items.filter((_, i) => i !== at);

const entryOf = (m: Message): Entry => ({
  pos: m.pos,
  from: m.from,
  key: m.key,
  ts: m.ts,
  data: m.data,
  replyTo: m.replyTo,
  mentions: m.mentions,
  edited: Boolean(m.edited),
  deleted: Boolean(m.deleted),
});

// insert puts an item behind all whose position is not after its own.
function insert<T>(items: readonly T[], item: T, pos: (item: T) => Position): T[] {
  let at = items.length;
  while (at > 0 && compare(pos(items[at - 1] as T), pos(item)) > 0) at--;
  return [...items.slice(0, at), item, ...items.slice(at)];
}

const positionOf = (entry: Entry) => entry.pos;

// heard adds a message. One that stands here already, by sender and key, stays once: it may
// have been read again in a later state, or come again after a reset under another position.
function heard(entries: readonly Entry[], message: Message): readonly Entry[] {
  const entry = entryOf(message);
  const last = entries.at(-1);
  const at = place(entries, entry);
  if (at < 0)
    return !last || compare(last.pos, entry.pos) <= 0
      ? [...entries, entry]
      : insert(entries, entry, positionOf);
  const known = entries[at] as Entry;
  if (known.deleted || (epoch(known.pos) === epoch(entry.pos) && known.pos !== entry.pos)) return entries;
  const both = {
    ...entry,
    pos: later(known.pos, entry.pos),
    ...(known.edited && !entry.edited && { data: known.data, edited: true }),
  };
  return both.pos === known.pos ? replace(entries, at, both) : insert(without(entries, at), both, positionOf);
}

const LATE = 200;

// live takes a message as it comes. While the end of the log is not shown, it stays unshown.
export function live(t: Timeline, message: Message, me: string): Timeline {
  const drafts = message.from === me ? t.drafts.filter((draft) => draft.key !== message.key) : t.drafts;
  if (t.newer !== undefined) return { ...t, drafts, late: [...t.late, message].slice(-LATE) };
  return { ...t, drafts, entries: heard(t.entries, message) };
}

type Edges = Pick<Timeline, "older" | "newer">;

// page takes a page of history, which touches what is shown: before it, after it, or in a hole.
// edges says where the next page begins on the side on which this one was read.
export function page(t: Timeline, messages: readonly Message[], edges: Partial<Edges>): Timeline {
  const next = { ...t, ...edges };
  const said = new Set(messages.map(idOf));
  const drafts = t.drafts.filter((draft) => !said.has(idOf(draft)));
  const entries = messages.reduce(heard, t.entries);
  if (next.newer !== undefined) return { ...next, drafts, entries };
  // What came while the page was on its way may not be on it.
  const end = messages.at(-1)?.pos ?? entries.at(-1)?.pos ?? "0-0";
  const late = t.late.filter((message) => compare(message.pos, end) > 0);
  return { ...next, drafts, entries: late.reduce(heard, entries), late: [] };
}

// turnTo shows another part of the log in place of the one that is shown.
export function turnTo(t: Timeline, messages: readonly Message[], edges: Edges): Timeline {
  const end = messages.at(-1)?.pos;
  const atEnd = t.newer === undefined && edges.newer === undefined && end !== undefined;
  const entries = atEnd ? t.entries.filter((entry) => compare(entry.pos, end) > 0) : [];
  return page({ ...t, entries, marks: t.marks.filter((mark) => mark.kind !== "moved") }, messages, {
    older: edges.older,
    newer: edges.newer,
  });
}

export interface Change {
  readonly kind: "edit" | "delete";
  readonly target: Ref;
  readonly data: unknown;
}

// changed lets an edit or a deletion change the entry that it is about. Nothing undoes a deletion.
export function changed(t: Timeline, { kind, target, data }: Change): Timeline {
  return alter(t, target, (entry) => {
    if (entry.deleted) return entry;
    if (kind === "edit") return { ...entry, data, edited: true };
    return { ...entry, data: null, deleted: true, replyTo: undefined, mentions: undefined };
  });
}

// moved gives an entry the position that it has after a reset.
export function moved(t: Timeline, ref: Ref): Timeline {
  const at = place(t.entries, ref);
  if (at < 0) return t;
  const entry = { ...(t.entries[at] as Entry), pos: ref.pos };
  return { ...t, entries: insert(without(t.entries, at), entry, positionOf) };
}

function alter(t: Timeline, ref: Ref, change: (entry: Entry) => Entry): Timeline {
  const at = place(t.entries, ref);
  return at < 0 ? t : { ...t, entries: replace(t.entries, at, change(t.entries[at] as Entry)) };
}

// ---- Marks

const MARKS = 50;

function mark(t: Timeline, note: Mark): Timeline {
  if (t.marks.some((other) => other.id === note.id)) return t;
  return { ...t, marks: insert(t.marks, note, (m) => m.after).slice(-MARKS) };
}

export const unmark = (t: Timeline, id: string): Timeline => ({
  ...t,
  marks: t.marks.filter((m) => m.id !== id),
});

// gap says that something may be missing between two positions.
export function gap(t: Timeline, { after, before }: { after: Position; before: Position }): Timeline {
  const missing = between(after, before);
  const text =
    missing === undefined
      ? "Messages are missing here."
      : `${missing} ${missing === 1n ? "message is" : "messages are"} missing here.`;
  return missing === 0n ? t : mark(t, { id: `gap ${after} ${before}`, kind: "gap", after, before, text });
}

// filled takes what the log still has in a gap: what is left of it is no longer there.
export function filled(t: Timeline, id: string, messages: readonly Message[]): Timeline {
  const hole = t.marks.find((m) => m.id === id);
  if (!hole?.before) return t;
  const inside = messages.filter(
    (m) => compare(m.pos, hole.after) > 0 && compare(m.pos, hole.before as Position) < 0,
  );
  const rest = page(unmark(t, id), inside, {});
  const missing = between(hole.after, hole.before);
  if (missing !== undefined && missing === BigInt(inside.length)) return rest;
  const text = inside.length
    ? "The log has no more of what was said here."
    : "What was said here is no longer in the log.";
  return mark(rest, { ...hole, id: `${id} read`, before: undefined, text });
}

export const reset = (t: Timeline, { lost, pos }: { lost: Position; pos: Position }): Timeline =>
  mark(t, {
    id: `reset ${lost} ${pos}`,
    kind: "reset",
    after: lost,
    text: "The log went back and goes on from here. Some messages above may not be kept.",
  });

export function served(t: Timeline, from: string, to: string, at: Position): Timeline {
  return mark(t, {
    id: `moved ${at} ${to}`,
    kind: "moved",
    after: at,
    text: `Now served by node ${to}, before by ${from}`,
  });
}

// ---- Drafts

// draft takes a message on its way, or what is new about one. One that is in the log is none.
export function draft(t: Timeline, d: Draft): Timeline {
  if (find(t, d)) return t;
  const at = t.drafts.findIndex((other) => other.key === d.key);
  return {
    ...t,
    drafts: at < 0 ? [...t.drafts, d] : replace(t.drafts, at, { ...d, ts: (t.drafts[at] as Draft).ts }),
  };
}

export const undraft = (t: Timeline, key: string): Timeline => ({
  ...t,
  drafts: t.drafts.filter((d) => d.key !== key),
});

// ---- Bounds

// trimmed drops what is far off, on the side away from which the reader looks.
export function trimmed(t: Timeline, limit: number, keep: "newest" | "oldest"): Timeline {
  if (t.entries.length <= limit) return t;
  const entries = keep === "newest" ? t.entries.slice(-limit) : t.entries.slice(0, limit);
  const [first, last] = [entries[0] as Entry, entries.at(-1) as Entry];
  const marks = t.marks.filter(
    (m) => compare(m.after, first.pos) >= 0 && (keep === "newest" || compare(m.after, last.pos) < 0),
  );
  return { ...t, entries, marks, ...(keep === "newest" ? { older: first.pos } : { newer: last.pos }) };
}
