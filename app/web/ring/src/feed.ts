// The page's line to the node: asks again and again, and knows when it has not heard.

import { Samples } from "./series";
import type { State, Whereabouts } from "./state";
import { sentence } from "./words";

export const every = 750; // a dead node is to be seen within two seconds
export const staleAfter = 3000;
const timeout = 2500;
const roomEvery = 2000;

/** Picture is all that the page shows. */
export interface Picture {
  state: State | null;
  samples: Samples;
  heard: number; // when the state came, by the browser's clock
  stale: boolean;
  silence: number; // how long nothing has come, in milliseconds
  room: string;
  found: Whereabouts | null;
  wrong: string; // why the room is not found
}

export class Feed {
  readonly #show: (p: Picture) => void;
  readonly #fetch: typeof fetch;
  readonly #samples = new Samples();
  #state: State | null = null;
  #began = 0;
  #heard = 0;
  #asking = false;
  #history = false;
  #room = "";
  #found: Whereabouts | null = null;
  #wrong = "";
  #roomAsked = 0; // Infinity: it is not asked again
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(show: (p: Picture) => void, ask: typeof fetch = (...a) => fetch(...a)) {
    this.#show = show;
    this.#fetch = ask;
  }

  start(): void {
    this.#began = Date.now();
    this.#timer = setInterval(() => this.tick(), every);
    this.tick();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** look asks where a room is, now and again and again; "" asks no more. */
  look(room: string): void {
    this.#room = room;
    this.#found = null;
    this.#wrong = "";
    this.#roomAsked = 0;
    if (room) void this.#askRoom();
    this.#tell();
  }

  /** tick asks for what is due, unless nobody sees the page. */
  tick(): void {
    if (typeof document === "undefined" || !document.hidden) {
      void this.#askState();
      if (this.#room && Date.now() - this.#roomAsked >= roomEvery) void this.#askRoom();
    }
    this.#tell();
  }

  async #askState(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    try {
      const state = (await this.#get("state")) as State;
      this.#state = state;
      this.#heard = Date.now();
      this.#samples.see(state);
      this.#tell();
      if (!this.#history) await this.#askHistory();
    } catch {
      // The page says since when it has not heard.
    } finally {
      this.#asking = false;
    }
  }

  async #askHistory(): Promise<void> {
    const all = (await this.#get("history")) as Record<string, Parameters<Samples["add"]>[1] | null>;
    this.#history = true;
    for (const [appid, samples] of Object.entries(all)) this.#samples.add(appid, samples ?? []);
    this.#tell();
  }

  async #askRoom(): Promise<void> {
    const room = this.#room;
    this.#roomAsked = Date.now();
    let found: Whereabouts | null = null;
    let wrong = "";
    let refused = false;
    try {
      found = (await this.#get(`rooms/${encodeURIComponent(room)}`)) as Whereabouts;
    } catch (e) {
      wrong = e instanceof Refusal ? sentence(e.message) : "The node does not answer.";
      refused = e instanceof Refusal && e.final;
    }
    if (room !== this.#room) return; // another one is asked for meanwhile
    if (refused) this.#roomAsked = Number.POSITIVE_INFINITY;
    if (found || !this.#found) this.#found = found;
    this.#wrong = wrong;
    this.#tell();
  }

  async #get(what: string): Promise<unknown> {
    const resp = await this.#fetch(`/ring/${what}`, {
      signal: AbortSignal.timeout(timeout),
      cache: "no-store",
    });
    const body: unknown = await resp.json();
    if (!resp.ok) {
      const { message = `status ${resp.status}` } = (body as { error?: { message?: string } }).error ?? {};
      throw new Refusal(message, resp.status < 500);
    }
    return body;
  }

  #tell(): void {
    const silence = Date.now() - (this.#heard || this.#began);
    this.#show({
      state: this.#state,
      samples: this.#samples,
      heard: this.#heard,
      stale: silence > staleAfter,
      silence,
      room: this.#room,
      found: this.#found,
      wrong: this.#wrong,
    });
  }
}

class Refusal extends Error {
  constructor(
    message: string,
    readonly final: boolean, // asking again changes nothing
  ) {
    super(message);
  }
}
