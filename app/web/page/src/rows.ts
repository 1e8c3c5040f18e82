// What stands on the screen for a timeline, row by row.

import { compare, type Position } from "../../sdk/src";
import { UNREAD } from "./room-state";
import { type Draft, type Entry, idOf, type Mark, type Timeline } from "./timeline";

const TOGETHER_MS = 5 * 60_000; // messages of one sender closer than this share one head

export type Row =
  | { readonly kind: "day"; readonly id: string; readonly ts: number }
  | { readonly kind: "unread"; readonly id: string }
  | { readonly kind: "mark"; readonly id: string; readonly mark: Mark }
  | { readonly kind: "entry"; readonly id: string; readonly entry: Entry; readonly headless: boolean }
  | { readonly kind: "draft"; readonly id: string; readonly draft: Draft; readonly headless: boolean };

const dayOf = (ts: number) => new Date(ts).toDateString();

// rows puts days, the line above what is unread, and marks between the messages. readUpTo is
// the position behind which others' messages are unread, or undefined for no such line.
export function rows(t: Timeline, me: string, readUpTo?: Position): Row[] {
  const out: Row[] = [];
  let [day, from, ts] = ["", "", 0];
  let divided = readUpTo === undefined;
  let nextMark = 0;

  const newDay = (at: number, id: string) => {
    if (dayOf(at) === day) return;
    day = dayOf(at);
    from = "";
    out.push({ kind: "day", id: `day ${id}`, ts: at });
  };
  const headless = (message: Entry | Draft) => {
    const same =
      message.from === from && message.ts - ts < TOGETHER_MS && !("replyTo" in message && message.replyTo);
    [from, ts] = [message.from, message.ts];
    return same;
  };
  const marksBefore = (pos?: Position) => {
    for (; nextMark < t.marks.length; nextMark++) {
      const mark = t.marks[nextMark] as Mark;
      if (pos !== undefined && compare(mark.after, pos) >= 0) return;
      out.push({ kind: "mark", id: mark.id, mark });
      from = "";
    }
  };

  for (const entry of t.entries) {
    marksBefore(entry.pos);
    const id = idOf(entry);
    newDay(entry.ts, id);
    if (!divided && entry.from !== me && compare(entry.pos, readUpTo as Position) > 0) {
      divided = true;
      from = "";
      out.push({ kind: "unread", id: UNREAD });
    }
    out.push({ kind: "entry", id, entry, headless: headless(entry) });
  }
  if (!t.newer) marksBefore();
  for (const draft of t.drafts) {
    newDay(draft.ts, idOf(draft));
    out.push({ kind: "draft", id: idOf(draft), draft, headless: headless(draft) });
  }
  return out;
}
