// Reads the log of the open room page by page: the newest, further ones on both sides of what
// is shown, what stands around a message, and what is left in a gap.

import { type ChatError, compare, type Message, type Position, type Ref, type Room } from "../../sdk/src";
import { before } from "./position";
import { END, entered, type OpenRoom, PAGE, ROWS, withTimeline } from "./room-state";
import type { Mark } from "./timeline";
import * as timeline from "./timeline";

const FILL = 256; // messages per request when a gap is read
const AGAIN_MS = 3_000; // after which the newest are asked for again

// Screen is where the pages go.
export interface Screen {
  readonly me: string;
  readonly shown: OpenRoom | null;
  update(change: (room: OpenRoom) => OpenRoom): void;
  complain(title: string, error: unknown): void;
}

export class Pages {
  readonly #room: Room;
  readonly #screen: Screen;
  #wanted: { pos: Position } | undefined; // what to show as soon as the room can be read

  constructor(room: Room, screen: Screen) {
    this.#room = room;
    this.#screen = screen;
  }

  // newest reads the end of the log. Where that fails for the moment it is asked for again.
  async newest(): Promise<void> {
    const done = await this.#page(async () => {
      const history = await this.#room.history({ limit: PAGE });
      this.#screen.update((room) => entered(room, history, this.#screen.me));
    });
    if (!done && this.#screen.shown?.state === "joined") setTimeout(() => this.newest(), AGAIN_MS);
    const wanted = this.#wanted;
    if (!wanted || !done) return;
    this.#wanted = undefined;
    await this.show(wanted);
  }

  older(): void {
    const from = this.#ready?.older;
    if (from === undefined) return;
    this.#page(async () => {
      const { messages, more, next } = await this.#room.history({ before: from, limit: PAGE });
      this.#change((t) =>
        timeline.trimmed(timeline.page(t, messages, { older: more ? next : undefined }), ROWS, "oldest"),
      );
    });
  }

  newer(): void {
    const from = this.#ready?.newer;
    if (from === undefined) return;
    this.#page(async () => {
      const { messages, more, next } = await this.#room.history({ after: from, limit: PAGE });
      this.#change((t) =>
        timeline.trimmed(timeline.page(t, messages, { newer: more ? next : undefined }), ROWS, "newest"),
      );
    });
  }

  // toEnd shows the end of the log.
  toEnd(): void {
    if (this.#screen.shown?.timeline.newer !== undefined) {
      this.#change((t) => timeline.turnTo(t, [], {}));
      this.newest();
    }
    this.#goTo(END);
  }

  // show scrolls to a message, and reads what stands around it if it is not here.
  async show(ref: Ref | { pos: Position }): Promise<void> {
    const { shown } = this.#screen;
    if (!shown?.loaded) {
      this.#wanted = ref;
      return;
    }
    const here = shown.timeline.entries.find((entry) =>
      "key" in ref ? entry.key === ref.key && entry.from === ref.from : entry.pos === ref.pos,
    );
    if (here) this.#goTo(timeline.idOf(here));
    else await this.#page(() => this.#around(ref.pos));
  }

  async #around(pos: Position): Promise<void> {
    const older = await this.#room.history({ before: pos, limit: PAGE / 2 });
    const newer = await this.#room.history({ after: before(pos), limit: PAGE });
    const found = newer.messages.find((message) => message.pos === pos);
    if (!found) return this.#screen.complain("That message is no longer kept", "The log has dropped it.");
    this.#change((t) =>
      timeline.turnTo(t, [...older.messages, ...newer.messages], {
        older: older.more ? older.next : undefined,
        newer: newer.more ? newer.next : undefined,
      }),
    );
    this.#goTo(timeline.idOf(found));
  }

  // fill reads what the log still has in a gap.
  async fill({ id, after, before }: Mark): Promise<void> {
    await this.#page(async () => {
      const messages: Message[] = [];
      for (let [at, more] = [after, true]; more && before !== undefined && compare(at, before) < 0; ) {
        const page = await this.#room.history({ after: at, limit: FILL });
        messages.push(...page.messages);
        at = page.next ?? before;
        more = page.more && messages.length < ROWS;
      }
      this.#change((t) => timeline.filled(t, id, messages));
    });
  }

  // ready is the timeline, while no other page is on its way.
  get #ready(): timeline.Timeline | undefined {
    const { shown } = this.#screen;
    return shown?.loaded && !shown.loading ? shown.timeline : undefined;
  }

  // page says whether that was all: without the right to read the past, there is none.
  async #page(work: () => Promise<void>): Promise<boolean> {
    this.#screen.update((room) => ({ ...room, loading: true }));
    try {
      await work();
      return true;
    } catch (error) {
      const { temporary } = error as ChatError;
      if (temporary) return false;
      this.#screen.update((room) => ({ ...room, loaded: true }));
      this.#screen.complain("Messages could not be read", error);
      return true;
    } finally {
      this.#screen.update((room) => ({ ...room, loading: false }));
    }
  }

  #goTo(id: string): void {
    this.#screen.update((room) => ({ ...room, goTo: { id } }));
  }

  #change(change: (t: timeline.Timeline) => timeline.Timeline): void {
    this.#screen.update((room) => withTimeline(room, change));
  }
}
