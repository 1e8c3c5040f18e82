// What the page knows of the room that is open, and how it changes with what is heard there.

import { compare, type History, type Message, type Position, type Presence } from "../../sdk/src";
import { later } from "./position";
import type { Entry, Timeline } from "./timeline";
import * as timeline from "./timeline";

export const PAGE = 50; // messages that are read at once
export const ROWS = 600; // messages that are shown at most

// Arrival is how the room came to stand where it stands.
export type Arrival =
  | { readonly how: "read" } // from the log, when the room was entered
  | { readonly how: "live" }
  | { readonly how: "recovered"; readonly missed: number; readonly complete: boolean; readonly at: number };

const LIVE: Arrival = { how: "live" };

export interface OpenRoom {
  readonly name: string;
  readonly state: "left" | "joining" | "joined";
  readonly refused?: string; // why it cannot be joined
  readonly loaded: boolean; // the newest messages are here
  readonly loading: boolean; // a page is on its way
  readonly shards: readonly string[]; // the nodes that have served it, in order
  readonly title: string;
  readonly topic: string;
  readonly timeline: Timeline;
  readonly position: Position;
  readonly arrival: Arrival;
  readonly divider?: Position; // behind it stands what was unread when the reader came
  readonly fresh: number; // messages that came while the reader looked elsewhere
  readonly presence?: Presence;
  readonly typists: readonly string[];
  readonly answering?: Entry;
  readonly editing?: Entry;
  readonly goTo?: { readonly id: string }; // the row to scroll to, or END; a new value for each time
}

export const END = "";
export const UNREAD = "unread"; // the line above what is unread

export const opened = (name: string, divider?: Position): OpenRoom => ({
  name,
  state: "joining",
  loaded: false,
  loading: true,
  shards: [],
  title: "",
  topic: "",
  timeline: timeline.nothing,
  position: "0-0",
  arrival: { how: "read" },
  divider,
  fresh: 0,
  typists: [],
});

export const shardOf = (room: OpenRoom): string => room.shards.at(-1) ?? "";

// servedBy notes which node serves the room. A change of node stands among the messages, too.
export function servedBy(room: OpenRoom, shard: string): OpenRoom {
  const before = shardOf(room);
  if (!shard || shard === before) return room;
  const marks = before ? timeline.served(room.timeline, before, shard, room.position) : room.timeline;
  return { ...room, timeline: marks, shards: [...room.shards, shard].slice(-6) };
}

// heard takes a message. looking says that the reader sees the end of the room.
export function heard(room: OpenRoom, message: Message, me: string, looking: boolean): OpenRoom {
  const next = {
    ...room,
    timeline: timeline.live(room.timeline, message, me),
    position: later(room.position, message.pos),
    arrival: room.arrival.how === "read" && !message.recovered ? LIVE : room.arrival,
    typists: room.typists.filter((user) => user !== message.from),
  };
  if (message.from === me) return next;
  if (looking) return { ...next, timeline: timeline.trimmed(next.timeline, ROWS, "newest") };
  return { ...next, fresh: room.fresh + 1, divider: room.fresh ? room.divider : room.position };
}

// recovered says how a connection that was gone has come back.
export const recovered = (room: OpenRoom, missed: number, complete: boolean): OpenRoom => ({
  ...room,
  arrival: { how: "recovered", missed, complete, at: Date.now() },
});

// entered takes the newest messages of a room, and leads to those that are unread.
export function entered(room: OpenRoom, { messages, more, next }: History, me: string): OpenRoom {
  const { divider } = room;
  const last = messages.at(-1)?.pos ?? "0-0";
  const fresh =
    divider === undefined ? 0 : messages.filter((m) => m.from !== me && compare(m.pos, divider) > 0).length;
  return {
    ...room,
    timeline: timeline.page(room.timeline, messages, { older: more ? next : undefined, newer: undefined }),
    position: later(room.position, last),
    loaded: true,
    loading: false,
    fresh,
    goTo: fresh ? { id: UNREAD } : room.goTo,
  };
}

// said is what becomes of the room when the user says something: what was unread is read.
export const said = (room: OpenRoom): OpenRoom => ({
  ...room,
  divider: undefined,
  fresh: 0,
  answering: undefined,
});

export const withTimeline = (room: OpenRoom, change: (t: Timeline) => Timeline): OpenRoom => ({
  ...room,
  timeline: change(room.timeline),
});
