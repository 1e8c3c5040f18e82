// The messages without an answer are kept over a reload, so that they can be sent again under
// the same keys.

import { tab } from "./storage";
import type { Draft } from "./timeline";

const KEPT_MS = 5 * 60_000; // for how long the server knows a key

interface Kept {
  readonly room: string;
  readonly user: string;
  readonly drafts: readonly Draft[];
}

const all = (): Kept[] => {
  try {
    const kept: unknown = JSON.parse(tab.get("outbox") ?? "[]");
    return Array.isArray(kept) ? kept : [];
  } catch {
    return [];
  }
};

export function keep(room: string, user: string, drafts: readonly Draft[]): void {
  const others = all().filter((kept) => kept.room !== room || kept.user !== user);
  tab.set("outbox", JSON.stringify(drafts.length ? [...others, { room, user, drafts }] : others));
}

// drop forgets a message of a room that is shown no more: it was answered.
export function drop(room: string, user: string, key: string): void {
  const mine = all().find((each) => each.room === room && each.user === user);
  if (mine) {
    keep(
      room,
      user,
      mine.drafts.filter((draft) => draft.key !== key),
    );
  }
}

// kept are the messages of a room that were not answered. One whose key the server no longer
// knows has failed: only its author can tell whether it has to be said again.
export function kept(room: string, user: string, now = Date.now()): Draft[] {
  const mine = all().find((each) => each.room === room && each.user === user);
  return (mine?.drafts ?? []).map((draft): Draft => {
    if (draft.state === "failed" || now - draft.ts < KEPT_MS) return draft;
    return { ...draft, state: "failed", error: "this page was closed before the answer came." };
  });
}
