// What stands beside the open room: the user's rooms, the friend list and the inbox, asked
// for again whenever the connection is back, and now and then.

import type { Chat, ChatError, Friend, InboxMessage, Message, RoomEntry } from "../../sdk/src";
import { inboxOf } from "./names";
import { noticeToast, said } from "./notices";
import { later } from "./position";
import { befriend, listed, marked, noticeType, type State, toasted } from "./state";
import type { Store } from "./store";

const CALM_MS = 60_000; // between two questions when nothing happens
const SOON_MS = 400; // what happens within this time is asked for once
const REST_MS = 3_000; // between any two questions: the list costs the server something
const ROOMS = 200;
const NOTICES = 100;

type Timer = ReturnType<typeof setTimeout>;

export class Lists {
  readonly #chat: Chat;
  readonly #store: Store<State>;
  readonly #off: (() => void)[];
  #asking: Timer | undefined;
  #asked = 0;
  #announcements = 0;

  constructor(chat: Chat, store: Store<State>) {
    this.#chat = chat;
    this.#store = store;
    this.#off = [
      chat.on("inbox", (notice) => this.#noticed(notice)),
      chat.on("friend", (friend) => this.#changed(friend)),
      chat.on("read", ({ room, pos }) => this.#read(room, pos)),
      chat.on("announcement", ({ from, data }) =>
        store.set({ announcement: { id: ++this.#announcements, from, text: said(data) } }),
      ),
    ];
  }

  end(): void {
    for (const off of this.#off.splice(0)) off();
    clearTimeout(this.#asking);
  }

  // connected asks for everything: what changed meanwhile was told to nobody.
  connected(): void {
    this.refresh(0);
    this.#askFriends();
    this.#askNotices();
  }

  // refresh asks for the rooms, soon.
  refresh(delay = SOON_MS): void {
    clearTimeout(this.#asking);
    const rested = Math.max(delay, this.#asked + REST_MS - Date.now());
    this.#asking = setTimeout(async () => {
      if (!document.hidden) await this.#askRooms();
      if (this.#off.length) this.refresh(CALM_MS);
    }, rested);
  }

  async #askRooms(): Promise<void> {
    if (this.#chat.state !== "connected") return;
    this.#asked = Date.now();
    try {
      const { rooms } = await this.#chat.rooms({ limit: ROOMS });
      this.#store.update((state) => ({
        ...state,
        rooms: rooms.map(seen(state)),
        noticesRead: inboxRead(state, rooms),
        open: state.rooms ? state.open : divided(state.open, rooms),
      }));
    } catch {
      // asked again when connected, or in a minute
    }
  }

  async #askFriends(): Promise<void> {
    try {
      const { friends, status } = await this.#chat.friends.list();
      const { friends: blocked } = await this.#chat.friends.list("blocked");
      const { away } = this.#store.state;
      this.#store.set({ friends, blocked, away: away || status === "away" });
      // The last session that was here took "away" with it.
      if (away && status === "online") await this.#chat.friends.status("away");
    } catch (error) {
      if ((error as ChatError).code === "unknown_command") this.#store.set({ friends: null, blocked: [] });
    }
  }

  async #askNotices(): Promise<void> {
    try {
      const page = await this.#chat.inbox?.history({ limit: NOTICES });
      this.#store.update((state) => ({ ...state, notices: merged(state.notices, page?.messages ?? []) }));
    } catch {
      // asked again when connected
    }
  }

  #noticed(notice: InboxMessage): void {
    this.#store.update((state) => ({ ...state, notices: merged(state.notices, [notice]) }));
    this.refresh();
    const { open, panel } = this.#store.state;
    const toast = noticeToast(notice);
    const { room } = toast.open ?? {};
    const inView = room === undefined ? panel === toast.open?.panel : room === open?.name;
    if (notice.recovered || (inView && !document.hidden)) return;
    this.#store.update((state) => ({ ...state, toasts: toasted(state.toasts, toast) }));
  }

  #changed(friend: Friend): void {
    this.#store.update((state) => {
      const blocked = state.blocked.filter((other) => other.user !== friend.user);
      return {
        ...state,
        friends: state.friends && befriend(state.friends, friend),
        blocked: friend.state === "blocked" ? [...blocked, friend] : blocked,
      };
    });
  }

  // The first time that a room is read puts it on the list.
  #read(room: string, pos: string): void {
    const { rooms } = this.#store.state;
    if (rooms?.every((entry) => entry.room !== room)) this.refresh();
    this.#store.update((state) => ({
      ...state,
      rooms: marked(state.rooms, room, pos),
      noticesRead: room === inboxOf(state.me.user) ? later(state.noticesRead, pos) : state.noticesRead,
    }));
  }

  // readNotices marks all notifications as read.
  readNotices(): void {
    const { notices, me } = this.#store.state;
    const last = listed(notices).at(-1);
    if (!last) return;
    this.#read(inboxOf(me.user), last.pos);
    this.#chat.inbox?.read(last.pos).catch(() => {}); // they count again when the list is asked for
  }
}

// seen counts nothing as unread in the room that the reader looks at.
const seen =
  ({ open }: State) =>
  (entry: RoomEntry): RoomEntry =>
    entry.room === open?.name && !open.fresh && !document.hidden ? { ...entry, unread: 0 } : entry;

// divided puts the line above what was unread when the page began, in the room that it opened at once.
function divided(open: State["open"], rooms: RoomEntry[]): State["open"] {
  const entry = rooms.find(({ room }) => room === open?.name);
  if (!open || !entry?.unread || entry.read === "0-0" || open.divider !== undefined) return open;
  return { ...open, divider: entry.read };
}

const inboxRead = ({ me, noticesRead }: State, rooms: RoomEntry[]) =>
  later(noticesRead, rooms.find((entry) => entry.room === inboxOf(me.user))?.read ?? "0-0");

function merged(notices: State["notices"], more: readonly Message[]): State["notices"] {
  const known = new Set(notices.map(({ pos }) => pos));
  const all = [...notices, ...more.filter((notice) => noticeType(notice) && !known.has(notice.pos))];
  return all.sort((a, b) => a.ts - b.ts).slice(-NOTICES);
}
