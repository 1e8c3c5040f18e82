// What goes over the wire, version 1, as docs/protocol.md has it. A command has an id, a reply repeats it, and a
// push has none.

import type { FriendState, Position, Ref } from "./types.js";

export type Fields = Record<string, unknown>;

export interface WireError {
  code: string;
  message?: string;
  temporary?: boolean;
  retry_after_ms?: number;
}

export interface Reply {
  id?: number;
  ok?: Fields;
  error?: WireError;
}

export interface Hello {
  push: "hello";
  user: string;
  session: string;
  shard: string;
  ping_s: number;
  expires_in_ms?: number;
  inbox?: string;
}

export interface Joined {
  push: "joined";
  room: string;
  pos: Position;
  recovered: boolean;
  missed: number;
  title?: string;
  topic?: string;
}

export interface MessagePush extends Ref {
  push: "message";
  room: string;
  data: unknown;
  about?: { reply_to?: Ref; mentions?: string[]; edits?: Ref; deletes?: Ref; describes?: boolean };
  edited?: { pos: Position; ts: number };
  deleted?: { pos: Position; ts: number; by: string };
}

export type RoomPush =
  | Joined
  | MessagePush
  | { push: "left"; room: string; code: string }
  | { push: "signal"; room: string; from: string; data: unknown }
  | { push: "member"; room: string; user: string; event: "join" | "leave" }
  | { push: "gap"; room: string; after: Position; before: Position }
  | { push: "reset"; room: string; lost: Position; pos: Position };

export interface FriendPush {
  push: "friend";
  user: string;
  state: FriendState;
  status?: "online" | "away" | "offline";
  last_seen?: number;
}

export type Push =
  | Hello
  | RoomPush
  | FriendPush
  | { push: "read"; room: string; pos: Position }
  | { push: "drain"; reconnect_ms: [number, number] }
  | { push: "announcement"; from: string; ts: number; data: unknown };
