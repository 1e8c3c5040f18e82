import { type Cancel, idly } from "./clock.js";

const REPEAT_MS = 3000; // how often others are told that somebody still types
const REST_MS = 1000; // signals that follow one another faster are held back by the server, which could be past a message
const FORGET_MS = 6000; // after how long it is taken for over

/** Who types in a room. */
export class Typing {
  #tell: (user: string, typing: boolean) => void;
  #typists = new Map<string, Cancel>();
  #types = false; // what others were told of this user
  #toldAt = 0;

  constructor(tell: (user: string, typing: boolean) => void) {
    this.#tell = tell;
  }

  /** Somebody else types, or has stopped. */
  heard(user: string, typing: boolean): void {
    const known = this.#typists.get(user);
    known?.();
    if (typing)
      this.#typists.set(
        user,
        idly(FORGET_MS, () => this.heard(user, false)),
      );
    else this.#typists.delete(user);
    if (typing !== Boolean(known)) this.#tell(user, typing);
  }

  /** Whether what this user does has to be signalled. */
  worthSaying(typing: boolean): boolean {
    const since = Date.now() - this.#toldAt;
    const worth = typing ? since >= (this.#types ? REPEAT_MS : REST_MS) : this.#types;
    if (worth) [this.#types, this.#toldAt] = [typing, Date.now()];
    return worth;
  }

  /** This user has said something, which ends typing without a signal. */
  over(): void {
    this.#types = false;
  }

  forgetAll(): void {
    for (const user of [...this.#typists.keys()]) this.heard(user, false);
  }
}
