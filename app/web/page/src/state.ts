// All that the page knows, in one value. The open room's part is in room-state.ts.

import { compare, type Friend, type Message, type Position, type RoomEntry } from "../../sdk/src";
import { inboxOf, peerOf } from "./names";
import type { OpenRoom } from "./room-state";

export type Transport = "auto" | "websocket" | "sse";

// Me is who the user says to be: a name where the server runs in dev mode, else a token.
export interface Me {
  readonly user: string;
  readonly token: string;
  readonly transport: Transport;
}

// Link is how the connection is. waiting: it comes back by itself; closed: it does not.
export interface Link {
  readonly state: "connecting" | "connected" | "waiting" | "closed";
  readonly retryAt?: number;
  readonly reason?: string;
  readonly transport?: "websocket" | "sse";
}

export interface Toast {
  readonly id: string;
  readonly title: string;
  readonly text: string;
  readonly open?: { readonly room?: string; readonly panel?: Panel; readonly pos?: Position };
  readonly bad?: boolean;
}

export interface Announcement {
  readonly id: number;
  readonly from: string;
  readonly text: string;
}

export type Panel = "people" | "friends" | "notifications";

// Ask is a question that has to be answered before something is done.
export interface Ask {
  readonly title: string;
  readonly text: string;
  readonly verb: string;
  readonly act: () => void;
}

export interface State {
  readonly me: Me;
  readonly link: Link;
  readonly rooms: readonly RoomEntry[] | null; // null: not known yet
  readonly friends: readonly Friend[] | null; // null: not known yet, or not served here
  readonly blocked: readonly Friend[];
  readonly away: boolean;
  readonly notices: readonly Message[]; // of the inbox, oldest first
  readonly noticesRead: Position;
  readonly toasts: readonly Toast[];
  readonly announcement: Announcement | null;
  readonly open: OpenRoom | null;
  readonly panel: Panel | null;
  readonly drawer: boolean; // the rooms, where they do not fit beside the messages
  readonly signIn: string | null; // the dialog with name and token, and why it is shown
  readonly ask: Ask | null;
}

export const begin = (me: Me, panel: Panel | null): State => ({
  me,
  link: { state: "connecting" },
  rooms: null,
  friends: null,
  blocked: [],
  away: false,
  notices: [],
  noticesRead: "0-0",
  toasts: [],
  announcement: null,
  open: null,
  panel,
  drawer: false,
  signIn: null,
  ask: null,
});

// shownRooms are the rooms of the list, split in two: rooms, and those with one other user.
export function shownRooms({ rooms, me, open }: State): { rooms: RoomEntry[]; direct: RoomEntry[] } {
  const listed = (rooms ?? []).filter((entry) => entry.room !== inboxOf(me.user));
  if (open && open.state !== "left" && !listed.some((entry) => entry.room === open.name))
    listed.unshift({
      room: open.name,
      unread: 0,
      atMost: false,
      read: "0-0",
      pos: "0-0",
      title: open.title,
      topic: open.topic,
    });
  const isDirect = (entry: RoomEntry) => peerOf(entry.room, me.user) !== undefined;
  return { rooms: listed.filter((entry) => !isDirect(entry)), direct: listed.filter(isDirect) };
}

// marked is the list after the user has read a room up to a position.
export const marked = (rooms: State["rooms"], room: string, pos: Position): State["rooms"] =>
  rooms?.map((entry) =>
    entry.room === room && compare(pos, entry.read) > 0
      ? { ...entry, read: pos, unread: compare(pos, entry.pos) >= 0 ? 0 : entry.unread }
      : entry,
  ) ?? null;

// The notices that the list of notifications has. Direct messages are not among them: their
// rooms say what is unread.
export const listed = (notices: readonly Message[]): Message[] =>
  notices.filter((notice) => noticeType(notice) !== "direct");

export const noticeType = (notice: Message): string =>
  String((notice.data as { type?: unknown } | null)?.type ?? "");

export const unreadNotices = ({ notices, noticesRead, rooms }: State): number =>
  listed(notices).filter((notice) => compare(notice.pos, noticesRead) > 0 && !readThere(notice, rooms))
    .length;

// readThere says that a mention was read where it stands.
function readThere(notice: Message, rooms: State["rooms"]): boolean {
  if (noticeType(notice) !== "mention") return false;
  const { room, pos } = notice.data as { room?: string; pos?: Position };
  const read = rooms?.find((entry) => entry.room === room)?.read;
  return read !== undefined && pos !== undefined && compare(pos, read) <= 0;
}

// unreadElsewhere counts what is unread in the rooms that are not open, for the title.
export const unreadElsewhere = (state: State): number =>
  (state.rooms ?? [])
    .filter((entry) => entry.room !== state.open?.name && entry.room !== inboxOf(state.me.user))
    .reduce((sum, entry) => sum + entry.unread, 0);

// friend puts an entry of the friend list into it, or takes it out.
export function befriend(friends: readonly Friend[], friend: Friend): Friend[] {
  const others = friends.filter((other) => other.user !== friend.user);
  if (friend.state === "none" || friend.state === "blocked") return others;
  return [...others, friend].sort((a, b) => a.user.localeCompare(b.user));
}

const TOASTS = 3;

export const toasted = (toasts: readonly Toast[], toast: Toast): Toast[] =>
  [...toasts.filter((other) => other.id !== toast.id), toast].slice(-TOASTS);
