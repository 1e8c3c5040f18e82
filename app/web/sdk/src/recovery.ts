import { compare, follows } from "./position.js";
import type { Position } from "./types.js";
import type { MessagePush } from "./wire.js";

const PAGE = 256;
const PAGES = 10; // how many are read before it is said that there is a gap

/** Asks for a page of history. */
export type Ask = (range: {
  after?: Position;
  limit: number;
}) => Promise<{ messages: MessagePush[]; more: boolean }>;

export interface Heard {
  message(push: MessagePush): void;
  gap(after: Position, before: Position): void;
}

/**
 * recover reads from the log what was said between two positions, oldest first, and says whether nothing is
 * missing. What is too much is left out, and said to be; the newest page always comes.
 */
export async function recover(
  ask: Ask,
  since: Position,
  target: () => Position,
  heard: Heard,
): Promise<boolean> {
  let last = since;
  let complete = true;
  for (let pages = 1, more = true; more && compare(last, target()) < 0; pages++) {
    const page = await ask(pages < PAGES ? { after: last, limit: PAGE } : { limit: PAGE });
    more = page.more && pages < PAGES;
    for (const push of page.messages) {
      if (compare(push.pos, last) <= 0) continue;
      if (!follows(last, push.pos)) {
        complete = false;
        heard.gap(last, push.pos);
      }
      heard.message(push);
      last = push.pos;
    }
  }
  if (compare(last, target()) < 0) {
    complete = false;
    heard.gap(last, target());
  }
  return complete;
}
