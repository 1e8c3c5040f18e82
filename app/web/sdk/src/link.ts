import { backoff, comesBack } from "./backoff.js";
import { after, type Cancel, idly, waitOut } from "./clock.js";
import { Connection } from "./connection.js";
import { type Deferred, deferred } from "./deferred.js";
import { asChatError, broken, ChatError, worthWaiting } from "./errors.js";
import type { End, OpenPipe, Where } from "./pipe.js";
import type { Line, Room } from "./room.js";
import type { Tokens } from "./tokens.js";
import type { Transports } from "./transports.js";
import type { Session, State, StateChange, TransportName } from "./types.js";
import { hidden } from "./wake.js";
import type { Fields, Hello, Push } from "./wire.js";

const STEADY_MS = 10_000; // how long a connection must last to forget failed attempts
const RENEW_MS = 60_000; // how long before a token's end a fresh one is shown
const TRIES = 3; // how often a question is asked

/** What a link shares with the others of its chat. */
export interface Shared {
  readonly base: string;
  /** The user says who it is, as auth.mode=dev allows. */
  readonly dev: boolean;
  /** "" until it is known. */
  user: string;
  readonly fetch: typeof fetch;
  readonly timeout: number;
  readonly minDelay: number;
  readonly maxDelay: number;
  readonly maxBytes: number;
  readonly tokens: Tokens;
  readonly transports: Transports;
  readonly pipes: Record<TransportName, OpenPipe>;
  opened(): void;
  changed(link: Link, change: StateChange): void;
  push(link: Link, push: Push): void;
  error(error: ChatError): void;
}

/** What a link is for. */
export interface Purpose {
  /** One room only: it ends with it. */
  dedicated?: boolean;
  watch?: boolean;
  inbox?: Room | undefined;
}

/** A connection that comes back: it carries rooms, and opens itself anew until it is closed or refused for good. */
export class Link implements Line {
  state: State = "disconnected";
  session: Session | null = null;
  /** Why it is disconnected for good. */
  error: ChatError | undefined;
  inboxName = "";
  /** Those to be in, in the order in which they were joined. */
  readonly rooms: Room[] = [];

  #shared: Shared;
  #purpose: Purpose;
  #connection: Connection | undefined;
  #where: Where | undefined; // of the connection
  #at: Room | undefined; // the room of the connection's address; without one it is the inbox's
  #run = 0; // counts attempts: what an earlier one still waits for is void
  #attempt = 0; // failed ones in a row
  #strayed = 0; // streams in a row that commands did not find
  #returnAt = 0; // the moment drawn from a drain's span
  #hinted = false; // the server has said for how long to wait
  #timers: Partial<Record<"retry" | "drain" | "steady" | "renew", Cancel>> = {};
  #ready = new Set<Deferred<Session>>();

  constructor(shared: Shared, purpose: Purpose) {
    this.#shared = shared;
    this.#purpose = purpose;
  }

  get maxBytes(): number {
    return this.#shared.maxBytes;
  }

  get user(): string {
    return this.#shared.user;
  }

  get shard(): string {
    return this.session?.shard ?? "";
  }

  // ---- Opening and closing

  open(): void {
    if (this.state !== "disconnected") return;
    this.reconnect();
    this.#shared.opened();
  }

  /** Opens a connection now, in place of the one that is there. */
  reconnect(): void {
    this.#attempt = 0;
    this.#connect();
  }

  close(error?: ChatError, change: Partial<StateChange> = {}): void {
    this.#run++;
    this.#drop();
    this.error = error;
    if (this.state === "disconnected") return;
    const why = error ?? new ChatError("disconnected", "disconnect() was called");
    this.#set({ state: "disconnected", ...change, ...(error && { error, final: true }) });
    for (const { reject } of this.#takeReady()) reject(why);
    for (const room of this.#everyRoom()) room.lost(why);
  }

  /** Resolves when connected; rejects when that is not to be, or takes too long. */
  ready(timeout?: number): Promise<Session> {
    if (this.session) return Promise.resolve(this.session);
    if (this.state === "disconnected")
      return Promise.reject(this.error ?? new ChatError("disconnected", "connect first"));
    const waiter = deferred<Session>();
    this.#ready.add(waiter);
    if (timeout !== undefined) {
      const cancel = after(timeout, () => {
        this.#ready.delete(waiter);
        waiter.reject(new ChatError("timeout", "the connection was not there in time", { temporary: true }));
      });
      waiter.promise.then(cancel, cancel);
    }
    return waiter.promise;
  }

  /** The network may work again, or may have been lost unnoticed. */
  awake(): void {
    if (this.#timers.retry && !this.#hinted) this.#connect();
    else if (this.session) this.#connection?.probe("awake");
  }

  offline(): void {
    if (this.#connection) this.#gone({ code: 1006, reason: "offline" });
  }

  // ---- Rooms

  join(room: Room): void {
    const inbox = room === this.#purpose.inbox; // which each connection joins by itself
    const known = this.rooms.includes(room);
    if (!inbox && !known) this.rooms.push(room);
    if (this.session && !known) this.#joinNow(room);
    this.open();
  }

  async leave(room: Room): Promise<void> {
    this.#forget(room);
    if (this.#purpose.dedicated) this.close();
    else if (this.session) await this.command("leave", { room: room.name }).catch(() => {});
  }

  async #joinNow(room: Room): Promise<void> {
    const run = this.#run;
    const current = () => run === this.#run && room.state !== "left";
    const { members } = room.options;
    for (;;) {
      try {
        await this.command("join", { room: room.name, since: room.position, members });
        return;
      } catch (error) {
        if (!current() || !(error instanceof ChatError) || error.code === "already_joined") return;
        if (error.temporary) {
          await waitOut(error);
          if (!current()) return;
        } else if (
          error.code === "forbidden" &&
          !this.#at &&
          !this.rooms.some(({ state }) => state === "joined")
        ) {
          this.#strayed = 0;
          return this.#connect(); // the nodes behind the inbox's address may serve no rooms: ask at the room's own
        } else return this.#refuse(room, error);
      }
    }
  }

  #refuse(room: Room, error: ChatError): void {
    this.#forget(room);
    room.refused(error);
    if (this.#purpose.dedicated) this.close(error);
  }

  #forget(room: Room): void {
    const index = this.rooms.indexOf(room);
    if (index >= 0) this.rooms.splice(index, 1);
  }

  #everyRoom(): Room[] {
    return this.#purpose.inbox ? [this.#purpose.inbox, ...this.rooms] : [...this.rooms];
  }

  // ---- Commands

  command(cmd: string, fields: Fields): Promise<Fields> {
    return this.session && this.#connection
      ? this.#connection.command(cmd, fields)
      : Promise.reject(broken());
  }

  async ask(cmd: string, fields: Fields, room?: Room): Promise<Fields> {
    for (let tries = 1; ; tries++) {
      await this.ready(this.#shared.timeout);
      try {
        return await this.command(cmd, room ? { room: room.name, ...fields } : fields);
      } catch (error) {
        if (tries === TRIES || !(error instanceof ChatError) || !error.temporary) throw error;
        if (worthWaiting(error)) await waitOut(error);
      }
    }
  }

  // ---- One connection after the other

  async #connect(): Promise<void> {
    const run = ++this.#run;
    this.#drop();
    if (run !== this.#run) return; // a listener has disconnected
    this.error = undefined;
    this.#set({ state: "connecting" });
    const { tokens, transports, pipes, fetch, timeout, maxBytes } = this.#shared;
    let token: string | undefined;
    try {
      token = await tokens.get();
    } catch (cause) {
      if (run === this.#run) this.#noToken(asChatError(cause, "token", true));
      return;
    }
    if (run !== this.#run) return;
    const transport = transports.next;
    const open = () => run === this.#run && connection === this.#connection;
    // A full home sends streams on, but not their commands: those for the inbox follow its stream to any node.
    const atHome = this.#strayed < 2 || transport !== "sse" || this.#purpose.watch;
    this.#at = atHome ? this.rooms.find(({ name }) => name) : undefined;
    // A stream answers what it is asked together at once, at the end.
    const patience = transport === "sse" ? 2 * timeout : timeout;
    const where = { url: this.#address(transport), token, fetch, timeout, patience, maxBytes };
    this.#where = where;
    const connection: Connection = new Connection(where, pipes[transport], {
      hello: (push) => open() && this.#hello(push, transport),
      push: (push) => open() && this.#hear(push),
      gone: (end) => open() && this.#gone(end, transport),
      error: (error) => this.#shared.error(error),
    });
    this.#connection = connection;
  }

  #address(transport: TransportName): URL {
    const { base, dev, user } = this.#shared;
    const { inbox, watch } = this.#purpose;
    const at = this.#at;
    const path = at ? `${watch ? "watch" : "chat"}/${at.name}` : "inbox";
    const url = new URL(`${base}/${transport === "sse" ? "sse" : "ws"}/${path}`);
    const since = (at ?? inbox)?.position;
    if (dev) url.searchParams.set("user", user);
    if (since) url.searchParams.set("since", since);
    if (at?.options.members) url.searchParams.set("members", "true");
    if (at && inbox) url.searchParams.set("inbox", inbox.position ?? "true");
    return url;
  }

  #noToken(error: ChatError): void {
    if (error.temporary) {
      this.#shared.error(error);
      this.#wait(this.#backoff(), { error, reason: error.message });
    } else this.close(error);
  }

  #hello(push: Hello, transport: TransportName): void {
    const { tokens, transports } = this.#shared;
    const life = push.expires_in_ms;
    const { user } = this.#shared;
    if (user && user !== push.user) {
      this.close(new ChatError("forbidden", "the token is another user's: make another Chat for them"));
      return;
    }
    const session: Session = { user: push.user, id: push.session, shard: push.shard, transport };
    if (life !== undefined) session.expiresAt = Date.now() + life;
    tokens.accepted(session.expiresAt);
    transports.worked(transport);
    this.session = session;
    this.#shared.user = push.user;
    this.inboxName = push.inbox ?? "";
    this.#timers.steady = idly(STEADY_MS, () => {
      this.#attempt = this.#strayed = 0;
    });
    this.#renewIn(life);
    const run = this.#run;
    this.#purpose.inbox?.expected();
    for (const room of this.rooms) if (room !== this.#at) this.#joinNow(room);
    if (this.#at && !this.rooms.includes(this.#at)) this.leave(this.#at);
    if (run !== this.#run) return; // a listener has disconnected
    for (const { resolve } of this.#takeReady()) resolve(session);
    this.#set({ state: "connected" });
  }

  #hear(push: Push): void {
    if (push.push === "drain") this.#drained(push.reconnect_ms);
    else if (push.push === "left") this.#left(push.room, push.code);
    else if (push.push !== "friend" && push.push !== "read" && "room" in push)
      this.#roomOf(push.room)?.hear(push);
    else this.#shared.push(this, push);
  }

  #roomOf(name: string): Room | undefined {
    return this.#everyRoom().find((room) => room.name === name);
  }

  #left(name: string, code: string): void {
    const room = this.rooms.find((one) => one.name === name);
    if (room) this.#refuse(room, new ChatError(code, "a fresh token does not allow this room"));
  }

  #drained([least, most]: [number, number]): void {
    const delay = least + Math.random() * (most - least);
    this.#returnAt = Date.now() + delay;
    this.#timers.drain = after(delay, () => this.#connect());
  }

  // gone arranges what comes after a connection, or ends the link.
  #gone(end: End, transport?: TransportName): void {
    const { code, status, error, astray } = end;
    if (astray) this.#strayed++;
    const reason = end.reason || error?.message;
    const said = { code: status ?? code, ...(reason && { reason }), ...(error && { error }) };
    const token = this.#where?.token;
    const at = this.#at;
    const connected = this.session !== null;
    const drained = this.#returnAt && Math.max(1, this.#returnAt - Date.now());
    const { tokens, transports } = this.#shared;
    const run = ++this.#run;
    this.#drop();
    if (run !== this.#run) return; // a listener has disconnected
    if (transport && !connected && showsBlock(end, transport)) transports.blocked(transport);

    if (status === 401 || code === 4501) {
      const why = reason ?? "the token has expired";
      const final = tokens.refused(token, new ChatError("unauthorized", why, { closeCode: code }));
      if (final) this.close(final, said);
      else this.#wait(this.#attempt++ ? this.#backoff() : 0, said);
    } else if (error && !error.temporary && status !== 426) {
      if (status === 404 && transport === "sse") this.#wait(this.#backoff(), said);
      else this.#refused(at, error, said);
    } else if (!status && !comesBack(code)) {
      const why = reason ?? CLOSED[code] ?? `the server closed the connection with ${code}`;
      this.close(new ChatError("closed", why, { closeCode: code }), said);
    } else {
      const hint = error?.retryAfter ?? 0;
      if (code === 4429) this.#attempt = Math.max(this.#attempt, 4);
      this.#wait(drained || hint + this.#backoff(), said, drained + hint > 0);
    }
  }

  // refused: the address is no good, which is about its room, if it has one and the others may be reached without.
  #refused(at: Room | undefined, error: ChatError, said: Partial<StateChange>): void {
    const aboutRoom = at && ["forbidden", "bad_room", "bad_position"].includes(error.code);
    if (aboutRoom && this.rooms.includes(at)) this.#refuse(at, error);
    if (this.state === "disconnected") return;
    if (aboutRoom && (this.rooms.length || this.#purpose.inbox)) this.#connect();
    else this.close(error, said);
  }

  #backoff(): number {
    const { minDelay, maxDelay } = this.#shared;
    return backoff(this.#attempt++, minDelay, hidden() ? 3 * maxDelay : maxDelay);
  }

  #wait(delay: number, said: Partial<StateChange>, hinted = false): void {
    this.#hinted = hinted;
    this.#timers.retry = after(delay, () => this.#connect());
    this.#set({ state: "connecting", retryAt: Date.now() + delay, ...said });
  }

  // drop leaves the connection, and tells the rooms.
  #drop(): void {
    for (const cancel of Object.values(this.#timers)) cancel();
    this.#timers = {};
    this.#returnAt = 0;
    const connection = this.#connection;
    this.#connection = undefined;
    this.session = null;
    connection?.close();
    if (connection) for (const room of this.#everyRoom()) room.lost();
  }

  #set(change: StateChange): void {
    this.state = change.state;
    this.#shared.changed(this, change);
  }

  #takeReady(): Deferred<Session>[] {
    const waiting = [...this.#ready];
    this.#ready.clear();
    return waiting;
  }

  // ---- The token's end

  #renewIn(life: number | undefined): void {
    this.#timers.renew?.();
    if (life === undefined || !this.#shared.tokens.renewable) return;
    this.#timers.renew = idly(Math.max(life / 2, life - RENEW_MS), () => void this.#renew());
  }

  async #renew(): Promise<void> {
    const run = this.#run;
    const { tokens } = this.#shared;
    for (let attempt = 0; run === this.#run; attempt++) {
      let token: string | undefined;
      try {
        token = await tokens.renewed(this.#where?.token);
        if (run !== this.#run) return;
        const { expires_in_ms: life } = (await this.command("auth", { token })) as { expires_in_ms?: number };
        if (this.#where) this.#where.token = token;
        if (this.session && life !== undefined)
          this.session = { ...this.session, expiresAt: Date.now() + life };
        tokens.accepted(this.session?.expiresAt);
        return this.#renewIn(life);
      } catch (cause) {
        const error = asChatError(cause, "token", true);
        if (run !== this.#run) return;
        this.#shared.error(error);
        if (error.code === "bad_token") tokens.refused(token, error);
        // A token that the server does not take is asked for once more; then the old one ends by itself.
        if (!error.temporary && (error.code !== "bad_token" || attempt > 0)) return;
        await waitOut({ retryAfter: error.retryAfter || this.#shared.minDelay * 2 ** Math.min(attempt, 6) });
      }
    }
  }
}

// What shows that a transport does not get through, though the server seems to be there: plain HTTP does, or what
// was open broke before the first word.
const showsBlock = ({ code, status, opened }: End, transport: TransportName): boolean =>
  status === 426 || (opened === true && code === 1006) || (status === 404 && transport === "sse");

const CLOSED: Record<number, string> = {
  1008: "too much was sent at once",
  1009: "a message was too long",
  4501: "the token has expired",
  4502: "the user has logged out everywhere",
  4510: "a service has closed the user's connections",
};
