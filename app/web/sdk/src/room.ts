import { waitOut } from "./clock.js";
import { type Deferred, deferred } from "./deferred.js";
import { Emitter } from "./emitter.js";
import { asChatError, broken, ChatError, worthWaiting } from "./errors.js";
import { isMessage, Memory, read, readChange, readRef } from "./message.js";
import { directRoom } from "./names.js";
import { before, compare, later } from "./position.js";
import { type Ask, recover } from "./recovery.js";
import { Sending } from "./sending.js";
import type {
  History,
  HistoryOptions,
  Message,
  Pending,
  Position,
  Presence,
  RoomEvents,
  RoomOptions,
  RoomState,
  SendOptions,
  Sent,
} from "./types.js";
import { Typing } from "./typing.js";
import type { Fields, Joined, MessagePush, RoomPush } from "./wire.js";

const HELD = 1000; // messages that wait while older ones are read

/** What a room needs of the connection that it shares with others. */
export interface Line {
  readonly maxBytes: number;
  readonly user: string;
  readonly shard: string;
  join(room: Room): void;
  leave(room: Room): Promise<void>;
  /** Gives a command now, once. */
  command(cmd: string, fields: Fields): Promise<Fields>;
  /** Waits for the connection, and asks again what is worth it. Only for what may be asked twice. */
  ask(cmd: string, fields: Fields, room: Room): Promise<Fields>;
}

/** A room, as one user is in it. `Chat.room` makes it. */
export class Room {
  state: RoomState = "left";
  /** The last position heard in order: what `since` is for another page. */
  position: Position | undefined;
  /** The node that serves it to this connection. */
  shard = "";
  title = "";
  topic = "";
  /** @internal */
  readonly options: RoomOptions;

  #line: Line;
  #named: () => string;
  #events = new Emitter<RoomEvents>();
  #memory = new Memory();
  #sending: Sending;
  #typing: Typing;
  #joining: Deferred<void> | undefined;
  #stay = 0; // counts joins: what an earlier one still waits for is void
  #catching: { until: Position; missed: number } | undefined; // what the node sends of the past
  #held: RoomPush[] | undefined; // what has to wait until older messages are read
  #heldUpTo: Position | undefined; // beyond HELD messages are dropped, and read instead

  /** @internal */
  constructor(line: Line, named: () => string, options: RoomOptions) {
    this.#line = line;
    this.#named = named;
    this.options = options;
    this.position = options.since;
    this.#typing = new Typing((user, typing) => this.#events.emit("typing", { user, typing }));
    this.#sending = new Sending({
      get name() {
        return named();
      },
      maxBytes: line.maxBytes,
      position: () => this.position,
      ready: () => this.state === "joined" && !this.#catching && !this.#held,
      command: (cmd, fields) => line.command(cmd, { room: this.name, ...fields }),
      tell: (pending) => this.#events.emit("pending", pending),
    });
  }

  /** What it is called on the wire. A direct room's is "" until it is known who this user is. */
  get name(): string {
    return this.#named();
  }

  /** Own messages that are not heard yet, oldest first. */
  get pending(): Pending[] {
    return this.#sending.pending;
  }

  on<E extends keyof RoomEvents>(event: E, listener: (detail: RoomEvents[E]) => unknown): () => void {
    return this.#events.on(event, listener);
  }

  /** Joins, and stays in over any number of connections. Resolves at the first time. */
  join(): Promise<void> {
    if (this.state === "joined") return Promise.resolve();
    this.#joining ??= deferred();
    const { promise } = this.#joining;
    this.expected();
    this.#line.join(this);
    return promise;
  }

  /** Leaves. What waits to be sent fails. */
  async leave(): Promise<void> {
    if (this.state === "left") return;
    this.refused(new ChatError("not_joined", "the room was left"), false);
    await this.#line.leave(this);
  }

  /** Says something: a string stands for `{ text }`. Resolves when it is in the log, for which it may wait offline. */
  send(data: unknown, options: SendOptions = {}): Promise<Sent> {
    if (data === undefined) return Promise.reject(new ChatError("bad_request", "there is nothing to send"));
    this.#typing.over();
    const fields: Fields = { data: typeof data === "string" ? { text: data } : data };
    if (options.replyTo) fields.reply_to = options.replyTo;
    if (options.mentions?.length) fields.mentions = options.mentions;
    return this.#publish("publish", fields, options);
  }

  /** Sends a failed message again, under its key. */
  retry(key: string): Promise<Sent> {
    return this.state === "left" ? Promise.reject(notJoined()) : this.#sending.retry(key);
  }

  /** Takes a pending message back. */
  discard(key: string): void {
    this.#sending.discard(key);
  }

  edit(pos: Position, data: unknown): Promise<Sent> {
    return this.#publish("edit", { pos, data: typeof data === "string" ? { text: data } : data });
  }

  delete(pos: Position): Promise<Sent> {
    return this.#publish("delete", { pos });
  }

  describe(about: { title?: string; topic?: string }): Promise<Sent> {
    return this.#publish("describe", { title: about.title ?? "", topic: about.topic ?? "" });
  }

  /** Has read up to here (where nothing is said: to the last position heard). Resolves with where the marker stands. */
  async read(pos: Position | undefined = this.position): Promise<Position> {
    return (await this.#line.ask("read", { pos }, this)).pos as Position;
  }

  /** Tells others something that is kept nowhere and may be lost. */
  async signal(data: unknown): Promise<void> {
    await this.#line.command("signal", { room: this.name, data });
  }

  /** Tells others whether this user types. Call it as often as keys are pressed: few of the calls are signalled. */
  typing(typing: boolean): void {
    if (this.state === "joined" && this.#typing.worthSaying(typing)) this.signal({ typing }).catch(() => {});
  }

  async presence(): Promise<Presence> {
    return (await this.#line.ask("presence", {}, this)) as unknown as Presence;
  }

  /** Messages before or after a position, or the newest, in their latest state, oldest first. */
  async history({ before, after, limit }: HistoryOptions = {}): Promise<History> {
    const answer = await this.#line.ask("history", { before, after, limit }, this);
    const pushes = answer.messages as MessagePush[];
    const more = answer.more === true;
    const next = (after ? pushes[pushes.length - 1] : pushes[0])?.pos;
    const messages = pushes.filter(isMessage).map((push) => {
      this.#memory.note(push, false);
      return this.#memory.latest(read(push, true));
    });
    return { messages, more, ...(more && next && { next }) };
  }

  /** All messages after a position, oldest first, or before one (where nothing is said: the end), newest first. */
  async *messages({ before, after, limit = 256 }: HistoryOptions = {}): AsyncGenerator<Message, void> {
    for (let next: Position | undefined = after ?? before, more = true; more; ) {
      const page: History = await this.history({
        limit,
        ...(next && { [after ? "after" : "before"]: next }),
      });
      yield* after ? page.messages : page.messages.reverse();
      next = page.next;
      more = next !== undefined;
    }
  }

  #publish(
    cmd: "publish" | "edit" | "delete" | "describe",
    fields: Fields,
    options?: SendOptions,
  ): Promise<Sent> {
    if (this.state === "left") return Promise.reject(notJoined());
    try {
      return this.#sending.add(cmd, fields, options);
    } catch (error) {
      return Promise.reject(asChatError(error, "bad_request", false)); // no JSON
    }
  }

  // ---- What its line tells it.

  /** @internal Its line is about to join it. */
  expected(): void {
    if (this.state === "left") this.#enter("joining");
  }

  /** @internal The connection is gone; the room comes back with the next one. */
  lost(error?: ChatError): void {
    if (this.state === "left") return;
    this.#pause();
    this.#enter("joining", error);
    if (error) this.#answerJoin(error);
  }

  /** @internal The server does not let the user in, or in no longer; or the user leaves. */
  refused(error: ChatError, tell = true): void {
    this.#pause();
    this.#sending.fail(error);
    this.#enter("left", tell ? error : undefined);
    this.#answerJoin(error);
  }

  /** @internal A push that names this room. */
  hear(push: RoomPush): void {
    if (push.push === "joined") this.#joined(push);
    else if (this.state !== "joined") return;
    else if (push.push === "signal") this.#signalled(push.from, push.data);
    else if (push.push === "member") this.#events.emit("member", { user: push.user, event: push.event });
    else if (this.#held) this.#hold(push);
    else this.#inOrder(push);
  }

  #joined({ pos, recovered, missed, title = "", topic = "" }: Joined): void {
    if (this.state === "left") return;
    this.#pause();
    const stay = this.#stay;
    const since = this.position;
    this.title = title;
    this.topic = topic;
    this.shard = this.#line.shard;
    if (recovered) {
      if (missed > 0) this.#catching = { until: pos, missed: 0 };
    } else this.#held = [];
    this.#enter("joined");
    this.#answerJoin();
    if (stay !== this.#stay) return; // a listener has left
    if (!recovered) this.#readMissed(since, pos);
    else if (!this.#catching) this.#caughtUp(true, 0);
  }

  // What the node has not sent is read from its log; what it sends meanwhile waits.
  async #readMissed(since: Position | undefined, pos: Position): Promise<void> {
    const stay = this.#stay;
    const ask: Ask = async (range) => {
      for (;;) {
        try {
          const page = (await this.#line.command("history", {
            room: this.name,
            ...range,
          })) as unknown as Awaited<ReturnType<Ask>>;
          if (stay !== this.#stay) throw broken();
          return page;
        } catch (error) {
          if (stay !== this.#stay || !worthWaiting(error)) throw error;
          await waitOut(error);
        }
      }
    };
    const target = () => this.#heldUpTo ?? pos;
    const heard = {
      message: (push: MessagePush) => {
        if (stay !== this.#stay) return; // a listener has left
        if (this.#deliver(push, compare(push.pos, pos) <= 0)) missed++;
      },
      gap: (after: Position, before: Position) => {
        if (stay === this.#stay) this.#events.emit("gap", { after, before });
      },
    };
    let complete = true;
    let missed = 0;
    let from = since ?? pos;
    try {
      if (!since || compare(since, pos) > 0) {
        const limit = since ? 256 : (this.options.history ?? 50);
        const newest = limit > 0 ? (await ask({ limit })).messages : [];
        if (since) {
          // A position beyond the end is one that the log has lost. Those before it may be given again.
          complete = false;
          this.position = undefined;
          this.#events.emit("reset", { lost: since, pos });
        }
        for (const push of newest) heard.message(push);
        from = later(this.position, pos);
      }
      if (compare(from, target()) < 0) complete = (await recover(ask, from, target, heard)) && complete;
    } catch {
      if (stay !== this.#stay) return; // the next join begins where this one came to
      // Without the right to read there is no past, only what comes.
      complete = !since;
      if (this.position) heard.gap(this.position, target());
      this.position = undefined;
    }
    if (stay !== this.#stay) return;
    this.position = later(this.position, target());
    const held = this.#held ?? [];
    this.#held = undefined;
    this.#heldUpTo = undefined;
    for (const push of held) if (stay === this.#stay) this.#inOrder(push);
    if (stay === this.#stay) this.#caughtUp(complete, missed, since !== undefined);
  }

  #hold(push: RoomPush): void {
    const held = this.#held as RoomPush[];
    held.push(push);
    if (held.length <= HELD) return;
    for (const one of held) if (one.push === "message") this.#heldUpTo = one.pos;
    this.#held = held.filter((one) => one.push !== "message");
  }

  #inOrder(push: RoomPush): void {
    if (push.push === "message") {
      const { until } = this.#catching ?? {};
      if (this.#deliver(push, Boolean(until && compare(push.pos, until) <= 0)) && this.#catching)
        this.#catching.missed++;
      if (until && compare(push.pos, until) >= 0) this.#caught(true);
    } else if (push.push === "gap") {
      this.#events.emit("gap", { after: push.after, before: push.before });
    } else if (push.push === "reset") {
      this.position = before(push.pos); // also where it goes on if the connection breaks here
      this.#events.emit("reset", { lost: push.lost, pos: push.pos });
      this.#caught(false);
    }
  }

  #caught(complete: boolean): void {
    const caught = this.#catching;
    this.#catching = undefined;
    if (caught) this.#caughtUp(complete, caught.missed);
  }

  #caughtUp(complete: boolean, missed: number, tell = true): void {
    if (tell) this.#events.emit("recovered", { complete, missed });
    if (this.position) this.#sending.passed(this.position);
    this.#sending.resume(complete);
  }

  // Lets a publication through, once; says whether it was new.
  #deliver(push: MessagePush, recovered: boolean): boolean {
    const { pos } = push;
    if (this.position && compare(pos, this.position) <= 0) return false;
    this.position = pos;
    const known = this.#memory.note(push, true);
    this.#typing.heard(push.from, false);
    if (push.from === this.#line.user) this.#sending.heard(push.key, pos);
    this.#sending.passed(pos);
    if (isMessage(push)) {
      if (known === "moved") this.#events.emit("moved", readRef(push));
      else if (!known) this.#events.emit("message", this.#memory.latest(read(push, recovered)));
    } else if (!known) this.#changed(push);
    return true;
  }

  #changed(push: MessagePush): void {
    const change = readChange(push);
    if (change) {
      this.#memory.change(change);
      this.#events.emit("change", change);
    }
    if (push.about?.describes) {
      const { title = "", topic = "" } = (push.data ?? {}) as { title?: string; topic?: string };
      this.title = title;
      this.topic = topic;
      this.#events.emit("describe", { title, topic, by: push.from });
    }
  }

  #signalled(from: string, data: unknown): void {
    this.#events.emit("signal", { from, data });
    const typing = (data as { typing?: unknown } | null)?.typing;
    if (typeof typing === "boolean") this.#typing.heard(from, typing);
  }

  // Ends what belongs to the connection that was.
  #pause(): void {
    this.#stay++;
    this.#catching = this.#held = this.#heldUpTo = undefined;
    this.#typing.forgetAll();
  }

  #answerJoin(error?: ChatError): void {
    const joining = this.#joining;
    this.#joining = undefined;
    if (error) joining?.reject(error);
    else joining?.resolve();
  }

  #enter(state: RoomState, error?: ChatError): void {
    if (this.state === state && !error) return;
    this.state = state;
    this.#events.emit("state", {
      state,
      ...(error && { error }),
      ...(state === "joined" && { shard: this.shard }),
    });
  }
}

const notJoined = () => new ChatError("not_joined", "join the room first");

/** @internal The name of the room that a user shares with another one, "" until it is known who the user is. */
export const directName = (user: string, other: string): string => (user ? directRoom(user, other) : "");
