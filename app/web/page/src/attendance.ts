// Who is in the open room, and who is writing there.

import type { Room } from "../../sdk/src";
import type { OpenRoom } from "./room-state";

const STOPPED_MS = 5_000; // after which one who has paused no longer writes
const CALM_MS = 60_000; // between two questions who is here, when nobody comes or goes

type Timer = ReturnType<typeof setTimeout>;

export class Attendance {
  readonly #room: Room;
  readonly #update: (change: (room: OpenRoom) => OpenRoom) => void;
  readonly #off: (() => void)[];
  #asking: Timer | undefined;
  #pausing: Timer | undefined;

  constructor(room: Room, update: (change: (room: OpenRoom) => OpenRoom) => void) {
    this.#room = room;
    this.#update = update;
    this.#off = [
      room.on("typing", ({ user, typing }) => update((shown) => writes(shown, user, typing))),
      room.on("member", () => this.ask()),
    ];
  }

  // ask asks soon who is here: after a random moment, because a push reaches all members at once.
  ask(delay = 150 + Math.random() * 600): void {
    clearTimeout(this.#asking);
    this.#asking = setTimeout(async () => {
      const presence = await this.#room.presence().catch(() => undefined);
      if (!this.#off.length) return;
      if (presence) this.#update((room) => ({ ...room, presence }));
      if (this.#room.state === "joined") this.ask(CALM_MS);
    }, delay);
  }

  end(): void {
    for (const off of this.#off.splice(0)) off();
    this.typing(false);
    clearTimeout(this.#asking);
  }

  // typing tells the others that this user writes, and that they have stopped when they pause.
  typing(on: boolean): void {
    clearTimeout(this.#pausing);
    if (on) this.#pausing = setTimeout(() => this.typing(false), STOPPED_MS);
    this.#room.typing(on);
  }

  // said is for when the message itself ends the writing.
  said(): void {
    clearTimeout(this.#pausing);
  }
}

function writes(room: OpenRoom, user: string, typing: boolean): OpenRoom {
  const others = room.typists.filter((other) => other !== user);
  return { ...room, typists: typing ? [...others, user] : others };
}
