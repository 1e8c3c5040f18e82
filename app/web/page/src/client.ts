// The page's end of the cluster: it ties the SDK to the state that is shown. One connection
// carries the inbox, friends and lists; the open room has another one (conversation.ts).

import { Chat, type ChatError, type StateChange } from "../../sdk/src";
import { directRoom } from "../../sdk/src/names";
import * as address from "./address";
import { Conversation } from "./conversation";
import { Friends } from "./friendship";
import { Lists } from "./lists";
import { isRoom } from "./names";
import { opened } from "./room-state";
import { WIDE } from "./screen";
import { type Ask, begin, type Me, type Panel, type State, type Toast, toasted } from "./state";
import { browser, tab } from "./storage";
import { Store } from "./store";
import { needsToken, subject } from "./token";

export class Client {
  readonly store: Store<State>;
  readonly friends: Friends;
  conversation: Conversation | null = null;
  #chat: Chat | null = null;
  #lists: Lists | null = null;
  #off: () => void = () => {};
  #toasts = 0;

  constructor(me: Me, panel: Panel | null) {
    this.store = new Store(begin(me, panel));
    this.friends = new Friends(
      () => this.#chat,
      this.store,
      (title, error) => this.complain(title, error),
    );
  }

  // start connects as somebody, and opens a room.
  start(me: Me, room: string): void {
    this.stop();
    tab.set("name", me.token ? null : me.user);
    tab.set("token", me.token || null);
    tab.set("transport", me.transport === "auto" ? null : me.transport);
    const user = subject(me.token) ?? me.user;
    this.store.update((state) => ({ ...begin({ ...me, user }, state.panel), open: null }));
    const chat = new Chat(undefined, {
      ...(me.token ? { token: me.token } : { user }),
      transport: me.transport,
      inbox: true,
    });
    this.#chat = chat;
    this.#lists = new Lists(chat, this.store);
    this.#off = chat.on("state", (change) => this.#linked(chat, change));
    chat.connect();
    if (room) this.open(room);
  }

  stop(): void {
    this.#close();
    this.#lists?.end();
    this.#off();
    this.#chat?.disconnect();
    this.#chat = null;
  }

  #linked(chat: Chat, { state, retryAt, code, error, reason, final }: StateChange): void {
    const why = error?.message || reason;
    if (state === "connected" && chat.session) {
      const { user, transport } = chat.session;
      this.store.update((s) => ({ ...s, me: { ...s.me, user }, link: { state, transport }, signIn: null }));
      this.#lists?.connected();
      return;
    }
    if (state === "disconnected" && final) {
      this.store.set({ link: { state: "closed", reason: why } });
      if (needsToken(error, code)) this.store.set({ signIn: why || "This server asks for a token." });
      return;
    }
    this.store.set({
      link: { state: retryAt === undefined ? "connecting" : "waiting", retryAt, reason: why },
    });
  }

  // retry connects now: it cuts a wait short, or begins again after a refusal.
  retry(): void {
    this.#chat?.reconnect();
    const { open } = this.store.state;
    if (open?.refused) this.open(open.name);
  }

  // ---- Rooms

  open(room: string, pos?: string): void {
    this.store.set({ drawer: false });
    const { open, rooms } = this.store.state;
    if (open?.name !== room || open.refused) {
      this.#close();
      if (!this.#chat || !isRoom(room)) return;
      const entry = rooms?.find((each) => each.room === room);
      this.store.set({ open: opened(room, entry?.unread && entry.read !== "0-0" ? entry.read : undefined) });
      this.conversation = new Conversation(this.#chat, this.store, room, (title, error) =>
        this.complain(title, error),
      );
      this.conversation.enter();
      // The first address may have a token in it, which must not stay in the history.
      const turn = open && address.parse(location).room !== room ? "pushState" : "replaceState";
      history[turn](null, "", `${location.pathname}${address.hashOf(room)}`);
    }
    if (pos) this.conversation?.pages.show({ pos });
  }

  openDirect(user: string): void {
    this.open(directRoom(this.store.state.me.user, user));
  }

  #close(): void {
    this.conversation?.leave();
    this.conversation = null;
  }

  // leave closes the open room; it stays on the list.
  leave(): void {
    this.#close();
    this.store.set({ open: null });
    history.replaceState(null, "", location.pathname);
    this.#lists?.refresh();
  }

  // forget takes a room off the list.
  async forget(room: string): Promise<void> {
    if (this.store.state.open?.name === room) this.leave();
    try {
      await this.#chat?.forget(room);
      this.store.update((state) => ({
        ...state,
        rooms: state.rooms?.filter((entry) => entry.room !== room) ?? null,
      }));
    } catch (error) {
      this.complain("The room could not be taken off the list", error);
    }
  }

  // ---- The rest of the page

  showPanel(panel: Panel | null): void {
    this.store.set({ panel, drawer: false });
    if (WIDE.matches) browser.set("panel", panel ?? "none");
    if (panel === "notifications") this.#lists?.readNotices();
  }

  readNotices(): void {
    this.#lists?.readNotices();
  }

  // awake is called when the reader looks at the page again.
  awake(): void {
    this.#lists?.refresh();
    const conversation = this.conversation;
    conversation?.look(conversation.looking);
  }

  // escape closes what lies over the messages.
  escape(): void {
    const { drawer, panel } = this.store.state;
    if (drawer) this.store.set({ drawer: false });
    else if (panel && !WIDE.matches) this.showPanel(null);
  }

  toast(toast: Omit<Toast, "id">): void {
    this.store.update((state) => ({
      ...state,
      toasts: toasted(state.toasts, { ...toast, id: `own ${++this.#toasts}` }),
    }));
  }

  dismiss(id: string): void {
    this.store.update((state) => ({ ...state, toasts: state.toasts.filter((toast) => toast.id !== id) }));
  }

  follow(open: Toast["open"]): void {
    if (open?.panel) this.showPanel(open.panel);
    if (open?.room) this.open(open.room, open.pos);
  }

  ask(ask: Ask | null): void {
    this.store.set({ ask });
  }

  complain(title: string, error: unknown): void {
    const text = typeof error === "string" ? error : ((error as ChatError).message ?? String(error));
    this.toast({ title, text, bad: true });
  }
}
