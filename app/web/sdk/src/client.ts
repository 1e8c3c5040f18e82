import { Emitter } from "./emitter.js";
import { ChatError } from "./errors.js";
import { Friends, readFriend } from "./friends.js";
import { Link, type Purpose, type Shared } from "./link.js";
import { possibleRoom } from "./names.js";
import { directName, Room } from "./room.js";
import { openStream } from "./sse.js";
import { Tokens } from "./tokens.js";
import { Transports } from "./transports.js";
import type {
  ChatEvents,
  ChatOptions,
  InboxMessage,
  RoomEntry,
  RoomList,
  RoomOptions,
  Session,
  State,
  StateChange,
  WebSocketClass,
} from "./types.js";
import { watchWakes } from "./wake.js";
import { openSocket } from "./websocket.js";
import type { Push } from "./wire.js";

const INBOX_TYPES = ["notification", "direct", "mention", "friend_request", "friend_accepted"];

interface Place {
  room: Room;
  link: Link;
  user?: string; // the other one, in a direct room
}

/** One user's connection to a chat cluster: rooms, people, and what comes for the user. */
export class Chat {
  /** The user's friend list. */
  readonly friends: Friends;
  /** The user's inbox, with its position; undefined with `inbox: false`. */
  readonly inbox: Room | undefined;

  #events = new Emitter<ChatEvents>();
  #shared: Shared;
  #main: Link;
  #places: Place[] = [];
  #told: State = "disconnected";
  #sleepless: (() => void) | undefined;

  constructor(url?: string, options: ChatOptions = {}) {
    const { user, token, getToken } = options;
    if (!user && !token && !getToken) {
      throw new ChatError(
        "no_user",
        "say who this is: by getToken or token, or by user where the server runs with auth.mode=dev",
      );
    }
    const where = url ?? globalThis.location?.origin ?? "";
    if (!/^(http|ws)s?:\/\/./i.test(where)) {
      throw new ChatError("no_url", "say where the cluster is, such as https://chat.example.com");
    }
    const base = new URL(where);
    base.protocol = base.protocol.replace("ws", "http");
    const Socket = options.WebSocket ?? (globalThis.WebSocket as WebSocketClass | undefined);
    if (options.transport === "websocket" && !Socket) {
      throw new ChatError("no_websocket", "there is no WebSocket here: give one as an option, or use SSE");
    }
    this.#shared = {
      base: base.href.replace(/\/+$/, ""),
      dev: !token && !getToken,
      user: (!token && !getToken && user) || "",
      fetch: options.fetch ?? ((input, init) => fetch(input, init)),
      timeout: options.timeout ?? 8000,
      minDelay: options.minDelay ?? 500,
      maxDelay: options.maxDelay ?? 20_000,
      maxBytes: options.maxBytes ?? 16_384,
      tokens: new Tokens(options),
      transports: new Transports(options, base.host, Boolean(Socket)),
      pipes: {
        websocket: (where, ears) => openSocket(where, ears, Socket as WebSocketClass),
        sse: openStream,
      },
      opened: () => {
        this.#watch();
        if (this.#wanted(this.#main)) this.#main.open();
      },
      changed: (link, change) => this.#changed(link, change),
      push: (link, push) => this.#hear(link, push),
      error: (error) => this.#events.emit("error", error),
    };
    const purpose: Purpose = {};
    this.#main = new Link(this.#shared, purpose);
    if (options.inbox !== false) {
      const inbox = new Room(this.#main, () => this.#main.inboxName, {
        history: 0,
        ...(options.inboxSince && { since: options.inboxSince }),
      });
      inbox.on("message", (message) => {
        const type = (message.data as { type?: string } | null)?.type;
        if (type && INBOX_TYPES.includes(type)) this.#events.emit("inbox", message as InboxMessage);
      });
      this.inbox = purpose.inbox = inbox;
    }
    this.friends = new Friends((cmd, fields) => this.#face.ask(cmd, fields));
  }

  get state(): State {
    return this.#face.state;
  }

  get session(): Session | null {
    return this.#face.session;
  }

  on<E extends keyof ChatEvents>(event: E, listener: (detail: ChatEvents[E]) => unknown): () => void {
    return this.#events.on(event, listener);
  }

  /** Connects, and stays connected. The rooms that were joined are joined again. */
  connect(): void {
    for (const link of this.#links()) if (this.#wanted(link)) link.open();
  }

  disconnect(): void {
    this.#sleepless?.();
    this.#sleepless = undefined;
    for (const link of this.#links()) link.close();
  }

  /** Connects anew, now: it cuts a wait short. */
  reconnect(): void {
    this.#watch();
    for (const link of this.#links()) if (this.#wanted(link)) link.reconnect();
  }

  /** Resolves when connected. Connects if nobody has done so; rejects at a final close, or after a time. */
  ready(timeoutMs?: number): Promise<Session> {
    if (!this.#face.error) this.connect();
    return this.#face.ready(timeoutMs);
  }

  /** The room of a name: the same object each time, with the options of the first. */
  room(name: string, options: RoomOptions = {}): Room {
    if (!possibleRoom(name)) {
      throw new ChatError(
        "bad_room",
        "a room is 1 to 64 of A-Z a-z 0-9 _ . - and begins with a letter or a digit",
      );
    }
    const known = this.#places.find(({ room }) => room.name === name);
    return known?.room ?? this.#newRoom(options, () => name);
  }

  /** The room that the user shares with another one. */
  direct(user: string, options: RoomOptions = {}): Room {
    const name = () => directName(this.#shared.user, user);
    const known = this.#places.find((place) => place.user === user || (name() && place.room.name === name()));
    return known?.room ?? this.#newRoom(options, name, user);
  }

  /** A page of the rooms on the user's list, with what is unread, the one first in which something was said last. */
  async rooms(page: { limit?: number; after?: string } = {}): Promise<RoomList> {
    const answer = await this.#face.ask("rooms", { ...page });
    const rooms = (answer.rooms as (Omit<RoomEntry, "atMost"> & { at_most?: boolean })[]).map(
      ({ at_most, ...entry }) => ({
        ...entry,
        title: entry.title ?? "",
        topic: entry.topic ?? "",
        atMost: at_most ?? false,
      }),
    );
    return {
      rooms,
      hidden: (answer.hidden as number | undefined) ?? 0,
      ...(answer.next ? { next: answer.next as string } : {}),
    };
  }

  /** Takes a room off the list; with `{ hidden: true }` all that the token does not allow to read. */
  async forget(room: string | { hidden: true }): Promise<void> {
    await this.#face.ask("forget", typeof room === "string" ? { room } : room);
  }

  #newRoom(options: RoomOptions, name: () => string, user?: string): Room {
    const own = options.dedicated || options.watch;
    const link = own
      ? new Link(this.#shared, { dedicated: true, watch: options.watch ?? false })
      : this.#main;
    const room = new Room(link, name, options);
    this.#places.push({ room, link, ...(user !== undefined && { user }) });
    return room;
  }

  #links(): Link[] {
    return [this.#main, ...this.#places.map(({ link }) => link).filter((link) => link !== this.#main)];
  }

  // The connection that is shared is not needed for what others carry, unless it is for the inbox.
  #wanted(link: Link): boolean {
    if (link !== this.#main || this.inbox || link.rooms.length)
      return link === this.#main || link.rooms.length > 0;
    return !this.#links().some((other) => other !== link && other.rooms.length);
  }

  // The connection whose state is the chat's.
  get #face(): Link {
    return this.#links().find((link) => this.#wanted(link)) ?? this.#main;
  }

  #changed(link: Link, change: StateChange): void {
    const { state } = this;
    const other = state !== this.#told;
    this.#told = state;
    if (link === this.#face) this.#events.emit("state", change);
    else if (other) this.#events.emit("state", { state });
  }

  #hear(link: Link, push: Push): void {
    if (push.push === "friend") this.#events.emit("friend", readFriend(push));
    else if (push.push === "read") this.#events.emit("read", { room: push.room, pos: push.pos });
    else if (push.push === "announcement" && link === this.#face) {
      this.#events.emit("announcement", { from: push.from, ts: push.ts, data: push.data });
    }
  }

  #watch(): void {
    this.#sleepless ??= watchWakes({
      awake: () => {
        for (const link of this.#links()) link.awake();
      },
      offline: () => {
        for (const link of this.#links()) link.offline();
      },
    });
  }
}
