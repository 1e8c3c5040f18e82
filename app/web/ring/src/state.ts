// What /ring/state, /ring/history and /ring/rooms/{room} answer. All times are Unix
// milliseconds of the node that was asked.

export interface State {
  now: number;
  by: string;
  alone: boolean;
  nodes: Seen[];
  haproxy: Door;
  ring: { ids: string[] | null; now: string; full: string; assumed: boolean };
  events: Event[];
}

export interface Seen {
  appid: string; // "": it has never answered
  address: string;
  asked: boolean;
  answers: boolean;
  since: number;
  problem: string;
  node: Node | null;
  server: Server | null;
  on: boolean;
  share: number;
  full: number;
}

export interface Node extends Sample {
  appid: string;
  version: string;
  started: number;
  now: number;
  draining: boolean;
  redis: { ok: boolean; since: number; why?: string } | null;
}

export interface Sample {
  at: number;
  connections: number;
  streams: number; // of the connections
  rooms: number;
  members: number;
  away: number;
  outbox: number;
  messages: number;
  deliveries: number;
  p50: number | null;
  p99: number | null;
}

export interface Server {
  name: string;
  status: string;
  on: boolean;
  why: string;
  since: number;
}

export interface Door {
  asked: boolean;
  answers: boolean;
  since: number;
  problem: string;
}

export interface Event {
  at: number;
  seq: number;
  by: string;
  node: string; // "": HAProxy
  kind: string;
  text: string;
}

export interface Whereabouts {
  room: string;
  place: number;
  hash: string;
  now: string;
  home: string;
  why: "hash" | "moved" | "pinned" | "computed" | "nowhere";
  split: boolean;
  serving: { appid: string; members: number; watchers: number }[];
  around: { id: number; distance: number }[] | null;
  text: string;
}
