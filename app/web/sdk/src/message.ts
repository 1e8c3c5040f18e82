import { compare } from "./position.js";
import type { Change, Message, Position, Ref } from "./types.js";
import type { MessagePush } from "./wire.js";

const KEPT = 2000; // names, and changes, that a room remembers

/** A name that a message keeps for good. A key may be used again after minutes, so the time belongs to it. */
const name = ({ from, key, ts }: Ref): string => `${from} ${key} ${ts}`;

export const readRef = ({ pos, from, key, ts }: Ref): Ref => ({ pos, from, key, ts });

/** What a pushed publication is to a listener. */
export function read(push: MessagePush, recovered: boolean): Message {
  const { room, data, about, edited, deleted } = push;
  const message: Message = { room, ...readRef(push), data, recovered };
  if (about?.reply_to) message.replyTo = readRef(about.reply_to);
  if (about?.mentions) message.mentions = about.mentions;
  if (edited) message.edited = edited;
  if (deleted) message.deleted = deleted;
  return message;
}

/** Whether it is a message of its own, not one that changes or describes something. */
export const isMessage = ({ about }: MessagePush): boolean =>
  !(about?.edits || about?.deletes || about?.describes);

/** The change that it is; undefined for an edit of what has been deleted since, which the deletion tells. */
export function readChange(push: MessagePush): Change | undefined {
  const { about, pos, from, ts, data, deleted } = push;
  if (about?.deletes)
    return { kind: "delete", target: readRef(about.deletes), by: from, pos, ts, data: null };
  if (about?.edits && !deleted)
    return { kind: "edit", target: readRef(about.edits), by: from, pos, ts, data };
  return undefined;
}

/** A map that forgets what was added first. */
class Recent<V> extends Map<string, V> {
  add(key: string, value: V): void {
    this.delete(key);
    this.set(key, value);
    if (this.size > KEPT) this.delete(this.keys().next().value as string);
  }
}

/** What a room has heard lately, by name. */
export class Memory {
  #seen = new Recent<{ pos: Position; told: boolean }>();
  #changes = new Recent<Change>();

  /**
   * Notes a publication that listeners are told, or that was read from history. Says whether they have been told it
   * before: "moved" when at another position, which a reset has taken away.
   */
  note(push: MessagePush, tell: boolean): "told" | "moved" | undefined {
    const before = this.#seen.get(name(push));
    this.#seen.add(name(push), { pos: push.pos, told: tell || Boolean(before?.told) });
    if (before && before.pos !== push.pos) return "moved";
    return before?.told ? "told" : undefined;
  }

  /** Notes a change. The answer to a question that was asked before it may still say what was before. */
  change(change: Change): void {
    this.#changes.add(name(change.target), change);
  }

  /** A message in the latest state known. */
  latest(message: Message): Message {
    const change = this.#changes.get(name(message));
    if (!change || message.deleted) return message;
    const { kind, pos, ts, by, data } = change;
    if (kind === "delete") {
      const { replyTo: _, mentions: __, ...rest } = message;
      return { ...rest, data, deleted: { pos, ts, by } };
    }
    if (message.edited && compare(message.edited.pos, pos) >= 0) return message;
    return { ...message, data, edited: { pos, ts } };
  }
}
