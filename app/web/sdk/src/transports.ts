import type { ChatOptions, TransportName } from "./types.js";

const DAY_MS = 24 * 60 * 60 * 1000;
const FAILURES = 2; // of one kind in a row, before the other is tried
const ONE_MOMENT_MS = 300; // connections that fail together are one failure

/** Which transport is next: WebSocket, unless it is blocked here. That is remembered for a day. */
export class Transports {
  #setting: "auto" | TransportName;
  #storage: ChatOptions["storage"];
  #name: string;
  #next: TransportName = "websocket";
  #failures = 0;
  #failedAt = Number.NEGATIVE_INFINITY;

  constructor(options: ChatOptions, host: string, haveSocket: boolean) {
    this.#setting =
      options.transport === "auto" || !options.transport ? (haveSocket ? "auto" : "sse") : options.transport;
    this.#name = `chatring.sse.${host}`;
    this.#storage = options.storage === undefined ? pageStorage() : options.storage;
    const blockedAt = this.#stored((s) => s.getItem(this.#name));
    if (blockedAt && Date.now() - Number(blockedAt) < DAY_MS) this.#next = "sse";
    else if (blockedAt) this.#stored((s) => s.removeItem(this.#name));
  }

  get next(): TransportName {
    return this.#setting === "auto" ? this.#next : this.#setting;
  }

  /** The server said hello over it. */
  worked(name: TransportName): void {
    this.#failures = 0;
    if (this.#setting !== "auto" || name !== this.#next) return;
    if (name === "websocket") this.#stored((s) => s.removeItem(this.#name));
    else if (!this.#stored((s) => s.getItem(this.#name)))
      this.#stored((s) => s.setItem(this.#name, String(Date.now())));
  }

  /** It did not come to hello, though the server seems to be there. */
  blocked(name: TransportName): void {
    const now = Date.now();
    if (name !== this.#next || now - this.#failedAt < ONE_MOMENT_MS) return;
    this.#failedAt = now;
    if (++this.#failures < FAILURES) return;
    this.#failures = 0;
    this.#next = name === "sse" ? "websocket" : "sse";
    if (name === "sse") this.#stored((s) => s.removeItem(this.#name));
  }

  // Storage may be forbidden, or full: then it is forgotten with the page.
  #stored<T>(use: (storage: NonNullable<ChatOptions["storage"]>) => T): T | undefined {
    try {
      return this.#storage ? use(this.#storage) : undefined;
    } catch {
      return undefined;
    }
  }
}

function pageStorage(): Storage | undefined {
  try {
    return typeof document === "undefined" ? undefined : localStorage; // Node warns of who touches its own
  } catch {
    return undefined;
  }
}
