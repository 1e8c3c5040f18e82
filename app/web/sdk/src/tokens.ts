import { idly } from "./clock.js";
import { deferred } from "./deferred.js";
import { ChatError } from "./errors.js";
import type { ChatOptions, TokenReason } from "./types.js";

const PATIENCE_MS = 30_000; // how long getToken may take

/** The user's token, shared by all connections: fetched once at a time, and again when it ends or is refused. */
export class Tokens {
  #options: ChatOptions;
  #token: string | undefined;
  #endsAt = Number.POSITIVE_INFINITY;
  #why: TokenReason = "first";
  #refusals = 0; // in a row
  #fetching: Promise<string> | undefined;

  constructor(options: ChatOptions) {
    this.#options = options;
    this.#token = options.token;
  }

  get renewable(): boolean {
    return Boolean(this.#options.getToken);
  }

  /** The token to connect with; undefined in dev mode. */
  async get(): Promise<string | undefined> {
    if (!this.renewable) return this.#token;
    if (this.#token && Date.now() < this.#endsAt) return this.#token;
    return this.#fetch(this.#token ? "expiring" : this.#why);
  }

  /** A token to take the place of one that is about to end: another connection may have it already. */
  async renewed(old: string | undefined): Promise<string> {
    if (this.#token && this.#token !== old) return this.#token;
    return this.#fetch(this.#token ? "expiring" : this.#why);
  }

  /** The server takes the token, and says when it ends. */
  accepted(endsAt: number | undefined): void {
    this.#refusals = 0;
    this.#endsAt = endsAt ?? Number.POSITIVE_INFINITY;
  }

  /** The server does not take a token. Returns why there is none to try after it, if so. */
  refused(token: string | undefined, why: ChatError): ChatError | undefined {
    if (!this.renewable) return why;
    if (this.#token !== token) return undefined; // another connection has seen to it
    this.#token = undefined;
    this.#why = "refused";
    if (++this.#refusals < 2) return undefined;
    this.#refusals = 0;
    return new ChatError("unauthorized", `a fresh token was refused, too: ${why.message}`);
  }

  #fetch(why: TokenReason): Promise<string> {
    this.#fetching ??= this.#ask(why).finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  async #ask(why: TokenReason): Promise<string> {
    const asked = this.#options.getToken?.(why);
    const late = deferred<never>();
    const inTime = idly(PATIENCE_MS, () =>
      late.reject(new ChatError("timeout", "getToken did not answer in time", { temporary: true })),
    );
    const token = await Promise.race([asked, late.promise]).finally(inTime);
    if (typeof token !== "string" || !token) throw new ChatError("unauthorized", "getToken gave no token");
    this.#token = token;
    this.#endsAt = Number.POSITIVE_INFINITY;
    return token;
  }
}
