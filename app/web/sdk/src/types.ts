// What the package shows to the outside. Everything that a user has written (data, title, topic) is text or
// JSON from strangers: show it as text, never as markup.

import type { ChatError } from "./errors.js";

/** A place in a room's log, `<epoch>-<offset>`: opaque but for equality and {@link compare}. */
export type Position = string;

export type State = "disconnected" | "connecting" | "connected";
export type RoomState = "left" | "joining" | "joined";
export type TransportName = "websocket" | "sse";

export interface ChatOptions {
  /**
   * Fetches a token: at first, a minute before the last one ends, or after it was refused. Calls never overlap. When it
   * throws it is asked again later, unless that is a ChatError that is not temporary, which ends the chat.
   */
  getToken?: (why: TokenReason) => string | Promise<string>;
  /** A token that is never renewed. */
  token?: string;
  /** Who this is, where the server runs with `auth.mode=dev`. */
  user?: string;
  /** Whether to hear the user's inbox (true). */
  inbox?: boolean;
  /** The last position seen in the inbox, to resume from. */
  inboxSince?: Position;
  /** auto: WebSocket, and SSE where that is blocked. */
  transport?: "auto" | TransportName;
  /** Where it is remembered that WebSocket is blocked (localStorage); null: nowhere. */
  storage?: Pick<Storage, "getItem" | "setItem" | "removeItem"> | null;
  /** Bounds of the delay before another attempt, in milliseconds (500 and 20,000). */
  minDelay?: number;
  maxDelay?: number;
  /** How long a handshake or a reply may take, in milliseconds (8,000). */
  timeout?: number;
  /** The longest command in bytes (16,384, as the server has it): longer ones are refused here. */
  maxBytes?: number;
  WebSocket?: WebSocketClass;
  fetch?: typeof fetch;
}

export type TokenReason = "first" | "expiring" | "refused";

/** As much of WebSocket as is used: the browser's, Node's, or that of the package ws. */
export type WebSocketClass = new (url: string, protocols?: string[]) => SocketLike;

export interface SocketLike {
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  send(text: string): void;
  close(): void;
}

export interface RoomOptions {
  /** A connection of its own, so that the node that is home to the room serves it. */
  dedicated?: boolean;
  /** Only listen, over a connection of its own. */
  watch?: boolean;
  /** Hear who comes and goes. */
  members?: boolean;
  /** How many messages are asked for when the room is joined without a position (50). */
  history?: number;
  /** The last position seen, to resume from. */
  since?: Position;
}

export interface Session {
  user: string;
  id: string;
  /** The node that serves this connection. */
  shard: string;
  transport: TransportName;
  /** When the token ends, in milliseconds since 1970; missing where it does not. */
  expiresAt?: number;
}

/** What names a message for good: positions change at a reset, the rest never does. */
export interface Ref {
  pos: Position;
  from: string;
  key: string;
  ts: number;
}

export interface Message extends Ref {
  room: string;
  data: unknown;
  replyTo?: Ref;
  mentions?: string[];
  edited?: { pos: Position; ts: number };
  deleted?: { pos: Position; ts: number; by: string };
  /** Said before this connection joined the room. */
  recovered: boolean;
}

export interface InboxMessage extends Message {
  data: InboxData;
}

export type InboxData =
  | { type: "notification"; [field: string]: unknown }
  | { type: "direct" | "mention"; room: string; pos: Position; from: string }
  | { type: "friend_request" | "friend_accepted"; from: string };

export interface Change {
  kind: "edit" | "delete";
  target: Ref;
  by: string;
  pos: Position;
  ts: number;
  /** What the message says from now on; null when it is deleted. */
  data: unknown;
}

export interface Pending {
  key: string;
  data: unknown;
  replyTo?: Position;
  mentions?: string[];
  /** discarded is the last word of a message that was taken back. That of one that is heard is "message". */
  state: "queued" | "sent" | "failed" | "discarded";
  error?: ChatError;
}

export interface Sent {
  pos: Position;
  key: string;
}

export interface SendOptions {
  /** Names this message: sent again under the same key, it is not doubled. Drawn at random unless said. */
  key?: string;
  replyTo?: Position;
  mentions?: string[];
  /** Takes the message back. One that is on its way may be said all the same. */
  signal?: AbortSignal;
}

export interface HistoryOptions {
  before?: Position;
  after?: Position;
  /** 50, and 256 at the most. */
  limit?: number;
}

export interface History {
  messages: Message[];
  more: boolean;
  /** The `before` or `after` of the next page. */
  next?: Position;
}

export interface Presence {
  users: { user: string; sessions: number }[];
  total: number;
  watchers: number;
  complete: boolean;
}

export interface RoomEntry {
  room: string;
  unread: number;
  /** There may be fewer unread messages. */
  atMost: boolean;
  read: Position;
  pos: Position;
  ts?: number;
  title: string;
  topic: string;
}

export interface RoomList {
  rooms: RoomEntry[];
  /** The `after` of the next page. */
  next?: string;
  /** How many rooms the token does not allow to read. */
  hidden: number;
}

export type FriendState = "requested" | "asked" | "friend" | "blocked" | "none";

export interface Friend {
  user: string;
  state: FriendState;
  status?: "online" | "away" | "offline";
  /** When a friend who is offline went, in milliseconds since 1970. */
  lastSeen?: number;
}

export interface FriendList {
  friends: Friend[];
  /** What friends see of this user. */
  status: "online" | "away";
}

export interface StateChange {
  state: State;
  /** When the next attempt begins, in milliseconds since 1970. */
  retryAt?: number;
  /** The close code, or the HTTP status, that ended the connection. */
  code?: number;
  reason?: string;
  error?: ChatError;
  /** It does not come back by itself. */
  final?: boolean;
}

export interface ChatEvents {
  state: StateChange;
  inbox: InboxMessage;
  friend: Friend;
  announcement: { from: string; ts: number; data: unknown };
  read: { room: string; pos: Position };
  error: ChatError;
}

export interface RoomEvents {
  state: { state: RoomState; error?: ChatError; shard?: string };
  message: Message;
  change: Change;
  moved: Ref;
  describe: { title: string; topic: string; by: string };
  recovered: { complete: boolean; missed: number };
  gap: { after: Position; before: Position };
  reset: { lost: Position; pos: Position };
  signal: { from: string; data: unknown };
  typing: { user: string; typing: boolean };
  member: { user: string; event: "join" | "leave" };
  pending: Pending;
}
