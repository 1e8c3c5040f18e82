import { after, type Cancel } from "./clock.js";
import { broken, ChatError, refusal, tooLong } from "./errors.js";
import { byteLength } from "./names.js";
import type { End, OpenPipe, Pipe, Where } from "./pipe.js";
import type { Fields, Hello, Push, Reply } from "./wire.js";

const QUIET_MS = 25_000; // how often the server pings, until it has said so

export interface Listener {
  hello(push: Hello): void;
  push(push: Push): void;
  gone(end: End): void;
  error(error: ChatError): void;
}

/**
 * One connection over one pipe, from the handshake to its end: commands and their replies, and silence, which is
 * taken for an end. It does not come back; Link does.
 */
export class Connection {
  #listener: Listener;
  #pipe: Pipe;
  #patience: number;
  #maxBytes: number;
  #open = true;
  #nextId = 1;
  #waiting = new Map<number, { resolve: (ok: Fields) => void; reject: (error: ChatError) => void }>();
  #overdue: Cancel | undefined; // the next reply, or hello
  #silence: Cancel | undefined;
  #quietMs = 2 * QUIET_MS;

  constructor(where: Where, open: OpenPipe, listener: Listener) {
    this.#listener = listener;
    this.#patience = where.patience;
    this.#maxBytes = where.maxBytes;
    // A socket has a time of its own for the handshake, and for asking why it failed.
    this.#overdue = after(2 * where.timeout, () =>
      this.#gone({ code: 1006, reason: "the server said nothing", opened: true }),
    );
    this.#pipe = open(where, {
      text: (frame) => this.#open && this.#hear(frame),
      beat: () => this.#alive(),
      gone: (end) => this.#gone(end),
    });
  }

  /** Gives a command, and resolves with what the reply says is ok. Commands are answered in their order. */
  command(cmd: string, fields: Fields): Promise<Fields> {
    if (!this.#open) return Promise.reject(broken());
    const id = this.#nextId++;
    const text = JSON.stringify({ id, cmd, ...fields });
    const length = byteLength(text);
    if (length > this.#maxBytes) return Promise.reject(tooLong(length, this.#maxBytes)); // else the server closes
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#pipe.send(text);
      if (!this.#overdue) this.#awaitReply();
    });
  }

  /** Asks for a sign of life: one that does not come in time ends the connection. An error is one, too. */
  probe(room: string): void {
    if (!this.#waiting.size) this.command("history", { room, limit: 1 }).catch(() => {});
  }

  /** Ends it, without a word to the listener. Whoever awaits a reply hears that it broke. */
  close(): void {
    this.#open = false;
    this.#overdue?.();
    this.#silence?.();
    this.#pipe.close();
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(broken());
  }

  #gone(end: End): void {
    if (!this.#open) return;
    this.close();
    this.#listener.gone(end);
  }

  #awaitReply(): void {
    this.#overdue?.();
    this.#overdue = this.#waiting.size
      ? after(this.#patience, () => this.#gone({ code: 1006, reason: "a reply did not come in time" }))
      : undefined;
  }

  #alive(): void {
    if (!this.#open) return;
    this.#silence?.();
    this.#silence = after(this.#quietMs, () => this.probe("quiet"));
  }

  #hear(text: string): void {
    let frame: (Push | { push?: undefined }) & Reply;
    try {
      frame = JSON.parse(text);
    } catch {
      this.#listener.error(new ChatError("bad_frame", "the server sent what is not JSON"));
      return;
    }
    if (frame.push === "hello") {
      if (frame.ping_s > 0) this.#quietMs = 2000 * frame.ping_s;
      this.#awaitReply();
      this.#listener.hello(frame);
    } else if (frame.push) this.#listener.push(frame);
    else this.#reply(frame);
    this.#alive();
  }

  #reply({ id, ok, error }: Reply): void {
    const asked = id === undefined ? undefined : this.#waiting.get(id);
    if (id !== undefined) this.#waiting.delete(id);
    this.#awaitReply();
    if (asked && error) asked.reject(refusal(error));
    else if (asked) asked.resolve(ok ?? {});
    else if (error) this.#listener.error(refusal(error));
  }
}
