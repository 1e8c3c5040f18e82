import type { Friend, FriendList, FriendState } from "./types.js";
import type { Fields, FriendPush } from "./wire.js";

type FriendEntry = Omit<FriendPush, "push">;
type Ask = (cmd: string, fields: Fields) => Promise<Fields>;

export function readFriend({ user, state, status, last_seen }: FriendEntry): Friend {
  return { user, state, ...(status && { status }), ...(last_seen !== undefined && { lastSeen: last_seen }) };
}

/** The user's friend list. Those that name a user resolve with the state in which that one is after them. */
export class Friends {
  #ask: Ask;

  /** @internal */
  constructor(ask: Ask) {
    this.#ask = ask;
  }

  /** All to whom the user stands in some way but those who are blocked, or those of one state; and the own status. */
  async list(state?: FriendState): Promise<FriendList> {
    const { friends, status } = await this.#ask("friends.list", { state });
    return { friends: (friends as FriendEntry[]).map(readFriend), status: status as FriendList["status"] };
  }

  request(user: string): Promise<Friend> {
    return this.#about("request", user);
  }

  accept(user: string): Promise<Friend> {
    return this.#about("accept", user);
  }

  decline(user: string): Promise<Friend> {
    return this.#about("decline", user);
  }

  remove(user: string): Promise<Friend> {
    return this.#about("remove", user);
  }

  block(user: string): Promise<Friend> {
    return this.#about("block", user);
  }

  unblock(user: string): Promise<Friend> {
    return this.#about("unblock", user);
  }

  /** What friends see while the user is there. */
  async status(status: "online" | "away"): Promise<void> {
    await this.#ask("friends.status", { status });
  }

  async #about(verb: string, user: string): Promise<Friend> {
    return readFriend((await this.#ask(`friends.${verb}`, { user })) as unknown as FriendEntry);
  }
}
