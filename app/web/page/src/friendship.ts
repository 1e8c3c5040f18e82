// What the user does to the friend list. The server's answer is the user's new entry; the
// push that follows says the same to the user's other sessions.

import type { Chat, Friend } from "../../sdk/src";
import { befriend, type State } from "./state";
import type { Store } from "./store";

export type Verb = "request" | "accept" | "decline" | "remove" | "block" | "unblock";

const REFUSED: Record<Verb, string> = {
  request: "The request was not sent",
  accept: "The request was not accepted",
  decline: "The request was not declined",
  remove: "Nothing was removed",
  block: "The user was not blocked",
  unblock: "The user was not unblocked",
};

export class Friends {
  readonly #chat: () => Chat | null;
  readonly #store: Store<State>;
  readonly #complain: (title: string, error: unknown) => void;

  constructor(
    chat: () => Chat | null,
    store: Store<State>,
    complain: (title: string, error: unknown) => void,
  ) {
    this.#chat = chat;
    this.#store = store;
    this.#complain = complain;
  }

  async do(verb: Verb, user: string): Promise<boolean> {
    const chat = this.#chat();
    if (!chat) return false;
    try {
      const entry = await chat.friends[verb](user);
      this.#store.update((state) => changed(state, entry));
      return true;
    } catch (error) {
      this.#complain(REFUSED[verb], error);
      return false;
    }
  }

  async status(status: "online" | "away"): Promise<void> {
    try {
      await this.#chat()?.friends.status(status);
      this.#store.set({ away: status === "away" });
    } catch (error) {
      this.#complain("Your status was not changed", error);
    }
  }
}

// changed puts an answer into the list, without the status that an answer does not have.
function changed(state: State, entry: Friend): State {
  const known = state.friends?.find((friend) => friend.user === entry.user);
  const blocked = state.blocked.filter((other) => other.user !== entry.user);
  return {
    ...state,
    friends: state.friends && befriend(state.friends, known?.state === entry.state ? known : entry),
    blocked: entry.state === "blocked" ? [...blocked, entry] : blocked,
  };
}
