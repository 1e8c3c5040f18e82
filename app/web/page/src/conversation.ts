// The open room: a connection of its own, so that the room's home serves it, and what the
// reader does there.

import { type Chat, type ChatError, compare, type Message, type Position, type Room } from "../../sdk/src";
import { Attendance } from "./attendance";
import * as outbox from "./outbox";
import { Pages, type Screen } from "./pages";
import { later } from "./position";
import * as rooms from "./room-state";
import { type OpenRoom, withTimeline } from "./room-state";
import type { State } from "./state";
import type { Store } from "./store";
import type { Draft, Entry } from "./timeline";
import * as timeline from "./timeline";
import { needsToken } from "./token";

// Whose a room is: the one that was left last may still wait for its messages to be sent.
const shownBy = new WeakMap<Room, Conversation>();

const READ_MS = 600; // how long a message is on the screen before it counts as read

export class Conversation implements Screen {
  readonly name: string;
  readonly pages: Pages;
  readonly #store: Store<State>;
  readonly complain: (title: string, error: unknown) => void;
  readonly #room: Room;
  readonly #attendance: Attendance;
  #off: (() => void)[] = [];
  #looking = true; // the reader sees the end of the log
  #read: Position | undefined; // where the marker is moved; the first time puts the room on the user's list
  #reading: ReturnType<typeof setTimeout> | undefined;

  constructor(
    chat: Chat,
    store: Store<State>,
    name: string,
    complain: (title: string, error: unknown) => void,
  ) {
    this.#store = store;
    this.complain = complain;
    this.name = name;
    this.#room = chat.room(name, { dedicated: true, members: true, history: 0 });
    this.pages = new Pages(this.#room, this);
    this.#attendance = new Attendance(this.#room, (change) => this.update(change));
  }

  get me(): string {
    return this.#store.state.me.user;
  }

  get shown(): OpenRoom | null {
    const { open } = this.#store.state;
    return open?.name === this.name ? open : null;
  }

  update(change: (room: OpenRoom) => OpenRoom): void {
    const before = this.shown?.timeline.drafts;
    this.#store.update((state) =>
      state.open?.name === this.name ? { ...state, open: change(state.open) } : state,
    );
    const drafts = this.shown?.timeline.drafts;
    if (drafts && drafts !== before) outbox.keep(this.name, this.me, drafts);
  }

  // enter joins the room, and comes back to it until leave.
  enter(): void {
    const drafts = outbox.kept(this.name, this.me);
    shownBy.set(this.#room, this);
    this.#listen();
    if (this.#room.state === "joined") this.#stateChanged("joined");
    else this.#room.join().catch(() => {}); // "state" says why
    for (const draft of drafts) {
      this.#drafted(draft);
      if (draft.state !== "failed") this.#post(draft);
    }
  }

  // leave ends the connection when what waits there has been sent.
  leave(): void {
    for (const off of this.#off.splice(0)) off();
    clearTimeout(this.#reading);
    this.#attendance.end();
    const waiting = this.#room.pending.filter(({ state }) => state !== "failed");
    const sent = waiting.map(({ key, data }) =>
      this.#room.send(data, { key }).then(() => outbox.drop(this.name, this.me, key)),
    );
    Promise.allSettled(sent).then(() => {
      if (shownBy.get(this.#room) === this) this.#room.leave().catch(() => {}); // it ends in any case
    });
  }

  #listen(): void {
    const room = this.#room;
    this.#off = [
      room.on("state", ({ state, error }) => this.#stateChanged(state, error)),
      room.on("message", (message) => this.#heard(message)),
      room.on("change", (change) => {
        this.#timeline((t) => timeline.changed(t, change));
        this.#moveOn();
      }),
      room.on("moved", (ref) => this.#timeline((t) => timeline.moved(t, ref))),
      room.on("describe", ({ title, topic }) => {
        this.update((r) => ({ ...r, title, topic }));
        this.#moveOn();
      }),
      room.on("recovered", ({ missed, complete }) =>
        this.update((r) => rooms.recovered(r, missed, complete)),
      ),
      room.on("gap", (hole) => this.#timeline((t) => timeline.gap(t, hole))),
      room.on("reset", (reset) => this.#timeline((t) => timeline.reset(t, reset))),
      room.on("pending", (pending) => {
        const { key, data, replyTo, mentions, state, error } = pending;
        if (state === "discarded") return; // whoever took it back has seen to it
        this.#drafted({
          key,
          data,
          replyTo,
          mentions,
          state,
          error: error?.message,
          from: this.me,
          ts: Date.now(),
        });
      }),
    ];
  }

  // moveOn notes up to where the log was heard: not all in it are messages.
  #moveOn(): void {
    const { position } = this.#room;
    if (position) this.update((room) => ({ ...room, position: later(room.position, position) }));
  }

  #timeline(change: (t: timeline.Timeline) => timeline.Timeline): void {
    this.update((room) => withTimeline(room, change));
  }

  #stateChanged(state: OpenRoom["state"], error?: ChatError): void {
    const { shard, title, topic } = this.#room;
    this.update((room) => ({ ...rooms.servedBy(room, shard), state, refused: undefined, title, topic }));
    if (state !== "joined") {
      if (state !== "left" || !error) return;
      this.update((room) => ({ ...room, refused: error.message }));
      if (needsToken(error)) this.#store.set({ signIn: error.message });
      return;
    }
    this.#attendance.ask(0);
    if (!this.shown?.loaded) this.pages.newest().then(() => this.look(this.#looking));
    this.#moveOn();
  }

  // ---- Reading

  #heard(message: Message): void {
    const looking = this.#looking && document.visibilityState === "visible";
    this.update((room) => rooms.heard(room, message, this.me, looking));
    if (looking) this.#seen();
  }

  // look says whether the reader sees the end of the log.
  look(end: boolean): void {
    this.#looking = end && this.shown?.timeline.newer === undefined;
    if (!this.#looking || document.visibilityState !== "visible") return;
    if (this.shown?.fresh) this.update((room) => ({ ...room, fresh: 0 }));
    this.#seen();
  }

  get looking(): boolean {
    return this.#looking;
  }

  // seen moves the user's marker, in a moment.
  #seen(): void {
    this.#reading ??= setTimeout(() => {
      this.#reading = undefined;
      const { position: pos = "0-0", state, loaded } = this.shown ?? {};
      if (state !== "joined" || !loaded || !this.#looking) return;
      if (this.#read !== undefined && compare(pos, this.#read) <= 0) return;
      this.#read = pos;
      this.#room.read(pos).catch(() => {
        this.#read = undefined; // the next message tries again
      });
    }, READ_MS);
  }

  // ---- Saying something

  send(text: string, mentions: readonly string[]): void {
    const answered = this.shown?.answering?.pos;
    this.#attendance.said();
    this.update(rooms.said);
    this.pages.toEnd();
    this.#send({ text }, { replyTo: answered, mentions: mentions.length ? [...mentions] : undefined });
  }

  #send(data: unknown, options: { key?: string; replyTo?: Position; mentions?: string[] }): void {
    this.#room.send(data, options).catch(() => {}); // "pending" tells what becomes of it
  }

  // post sends again what was not answered: the room may know it, or another page had it.
  #post({ data, key, replyTo, mentions }: Draft): void {
    const known = this.#room.pending.some((pending) => pending.key === key);
    if (known) this.#room.retry(key).catch(() => {});
    else this.#send(data, { key, replyTo, mentions: mentions && [...mentions] });
  }

  #drafted(draft: Draft): void {
    this.#timeline((t) => timeline.draft(t, draft));
  }

  retry(draft: Draft): void {
    this.#drafted({ ...draft, state: "queued", error: undefined });
    this.#post(draft);
  }

  discard({ key }: Draft): void {
    this.#room.discard(key);
    this.#timeline((t) => timeline.undraft(t, key));
  }

  answer(entry: Entry | undefined): void {
    this.update((room) => ({ ...room, answering: entry, editing: undefined }));
  }

  beginEdit(entry: Entry | undefined): void {
    this.update((room) => ({ ...room, editing: entry, answering: undefined }));
  }

  async edit(entry: Entry, text: string): Promise<void> {
    this.beginEdit(undefined);
    const data = typeof entry.data === "object" && entry.data ? { ...entry.data, text } : { text };
    await this.#room
      .edit(entry.pos, data)
      .catch((error) => this.complain("The message could not be edited", error));
  }

  async remove(entry: Entry): Promise<void> {
    await this.#room
      .delete(entry.pos)
      .catch((error) => this.complain("The message could not be deleted", error));
  }

  async describe(title: string, topic: string): Promise<void> {
    await this.#room
      .describe({ title, topic })
      .catch((error) => this.complain("The room could not be described", error));
  }

  typing(on: boolean): void {
    if (this.shown?.state === "joined") this.#attendance.typing(on);
  }
}
