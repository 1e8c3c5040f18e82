import { waitOut } from "./clock.js";
import { type Deferred, deferred } from "./deferred.js";
import { asChatError, ChatError, tooLong, worthWaiting } from "./errors.js";
import { byteLength, newKey } from "./names.js";
import { compare } from "./position.js";
import type { Pending, Position, SendOptions, Sent } from "./types.js";
import type { Fields } from "./wire.js";

const QUEUE = 1000; // publications that may wait in one room
const KEY_WINDOW_MS = 4.5 * 60_000; // the server knows a key for five minutes

/** What a room's sending needs of it. */
export interface Way {
  readonly name: string;
  readonly maxBytes: number;
  /** Up to where the room has been heard. */
  position(): Position | undefined;
  /** Whether the room is joined, and what was missed has been heard. */
  ready(): boolean;
  command(cmd: string, fields: Fields): Promise<Fields>;
  tell(pending: Pending): void;
}

type Verb = "publish" | "edit" | "delete" | "describe";

interface Draft extends Deferred<Sent> {
  cmd: Verb;
  key: string;
  fields: Fields;
  pending: Pending; // of a publish it is what listeners are told
  pos?: Position; // it is acknowledged
  triedAt?: number; // when it was first given without an answer to tell what became of it
}

/**
 * A room's publications on their way: each goes under its key until the log has it or the server refuses it for
 * good, over any number of connections. One goes at a time, so that their order holds even when one has to be sent
 * again. Up to QUEUE wait; a further one is refused at once.
 */
export class Sending {
  #way: Way;
  #drafts: Draft[] = [];
  #flushing = false;

  constructor(way: Way) {
    this.#way = way;
  }

  get pending(): Pending[] {
    return this.#drafts.filter(({ cmd }) => cmd === "publish").map(({ pending }) => ({ ...pending }));
  }

  /** Adds one, and resolves when the log has it. The same key stands for the same publication. */
  add(
    cmd: Verb,
    fields: Fields,
    { key = newKey(), signal, replyTo, mentions }: SendOptions = {},
  ): Promise<Sent> {
    const known = this.#find(key);
    if (known) return known.promise;
    if (signal?.aborted) return Promise.reject(signal.reason);
    const length = byteLength(JSON.stringify({ id: 1e9, cmd, room: this.#way.name, key, ...fields }));
    if (length > this.#way.maxBytes) {
      return Promise.reject(tooLong(length, this.#way.maxBytes));
    }
    if (this.#drafts.length >= QUEUE) {
      return Promise.reject(
        new ChatError("queue_full", `${QUEUE} messages wait already: send again later`, { temporary: true }),
      );
    }
    const pending: Pending = { key, data: fields.data, state: "queued" };
    if (replyTo) pending.replyTo = replyTo;
    if (mentions) pending.mentions = mentions;
    const draft: Draft = { cmd, key, fields, pending, ...deferred<Sent>() };
    if (signal) {
      const abort = () => this.#take(draft, signal.reason);
      const forget = () => signal.removeEventListener("abort", abort);
      signal.addEventListener("abort", abort);
      draft.promise.then(forget, forget);
    }
    this.#drafts.push(draft);
    this.#tell(draft, "queued");
    this.flush();
    return draft.promise;
  }

  /** Sends a failed one again, behind all others. */
  retry(key: string): Promise<Sent> {
    const failed = this.#find(key);
    if (!failed) return Promise.reject(new ChatError("not_found", "no such message waits"));
    if (failed.pending.state !== "failed") return failed.promise;
    this.#drafts = this.#drafts.filter((draft) => draft !== failed);
    const { cmd, fields, pending } = failed;
    delete pending.error;
    const draft: Draft = { cmd, key, fields, pending, ...deferred<Sent>() };
    this.#drafts.push(draft);
    this.#tell(draft, "queued");
    this.flush();
    return draft.promise;
  }

  /** Takes one back. If it is on its way it may be said all the same. */
  discard(key: string): void {
    const draft = this.#find(key);
    if (draft) this.#take(draft, new ChatError("discarded", "the message was taken back"));
  }

  /** A publication of this user has been heard: then the log has it, whether that was answered or not. */
  heard(key: string, pos: Position): void {
    const draft = this.#find(key);
    if (draft && !draft.pos) this.#settle(draft, pos);
  }

  /** What is acknowledged up to here has been heard, and is pending no more. */
  passed(pos: Position): void {
    this.#drafts = this.#drafts.filter((draft) => !draft.pos || compare(pos, draft.pos) < 0);
  }

  /** The room is joined again. Unless all that was missed has been heard, too old keys prove nothing any more. */
  resume(complete: boolean): void {
    for (const draft of complete ? [] : [...this.#drafts]) {
      if (draft.pos || draft.triedAt === undefined || Date.now() - draft.triedAt < KEY_WINDOW_MS) continue;
      this.#fail(
        draft,
        new ChatError("uncertain", "the connection was away for too long to tell whether this was said"),
      );
    }
    this.flush();
  }

  /** Nothing here goes anywhere any more. */
  fail(error: ChatError): void {
    for (const draft of this.#drafts.filter(waits)) this.#fail(draft, error);
  }

  async flush(): Promise<void> {
    if (this.#flushing) return;
    this.#flushing = true;
    for (let draft = this.#next(); draft; draft = this.#next()) await this.#send(draft);
    this.#flushing = false;
  }

  #next(): Draft | undefined {
    return this.#way.ready() ? this.#drafts.find(waits) : undefined;
  }

  async #send(draft: Draft): Promise<void> {
    draft.triedAt ??= Date.now();
    try {
      const ok = await this.#way.command(draft.cmd, { key: draft.key, ...draft.fields });
      if (this.#settle(draft, ok.pos as Position) && draft.cmd === "publish") this.#tell(draft, "sent");
    } catch (error) {
      if (worthWaiting(error)) {
        if (error.code === "rate_limited") delete draft.triedAt;
        await waitOut(error);
      } else if (!(error instanceof ChatError && error.temporary)) {
        this.#fail(draft, asChatError(error, "internal", false));
      }
    }
  }

  // The log has it. Says whether that was news.
  #settle(draft: Draft, pos: Position): boolean {
    if (draft.pos || !this.#drafts.includes(draft)) return false;
    draft.pos = pos;
    draft.resolve({ pos, key: draft.key });
    const position = this.#way.position(); // it may have been said under this key before, and heard
    if (draft.cmd !== "publish" || (position && compare(pos, position) <= 0))
      this.#drafts = this.#drafts.filter((other) => other !== draft);
    return true;
  }

  #fail(draft: Draft, error: ChatError): void {
    if (!this.#drafts.includes(draft)) return;
    draft.pending.error = error;
    if (draft.cmd !== "publish") this.#drafts = this.#drafts.filter((other) => other !== draft);
    draft.reject(error);
    this.#tell(draft, "failed");
  }

  #take(draft: Draft, reason: unknown): void {
    if (draft.pos) return;
    this.#drafts = this.#drafts.filter((other) => other !== draft);
    draft.reject(reason);
    this.#tell(draft, "discarded");
  }

  #find(key: string): Draft | undefined {
    return this.#drafts.find((draft) => draft.key === key);
  }

  #tell({ cmd, pending }: Draft, state: Pending["state"]): void {
    pending.state = state;
    if (cmd === "publish") this.#way.tell({ ...pending });
  }
}

const waits = ({ pos, pending }: Draft): boolean => !pos && pending.state !== "failed";
