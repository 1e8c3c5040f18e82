// The friend list: who asks, who is there, whom one has asked, and whom one keeps away.

import { useRef } from "preact/hooks";
import type { Friend } from "../../sdk/src";
import { Icon } from "./icons";
import { ago } from "./look";
import { Menu } from "./menu";
import { asUser, isUser } from "./names";
import { Frame } from "./panel";
import { Avatar, Name, usePersonMenu } from "./person";
import { useApp, useClient } from "./store";

const RANK = { online: 0, away: 1, offline: 2 };
const rank = ({ status = "offline" }: Friend) => RANK[status];

export function FriendsPanel() {
  const friends = useApp((state) => state.friends);
  const blocked = useApp((state) => state.blocked);
  if (!friends) return null;
  const of = (wanted: Friend["state"]) => friends.filter(({ state }) => state === wanted);
  const there = of("friend").sort((a, b) => rank(a) - rank(b));
  return (
    <Frame title="Friends" count={there.length ? `${there.length}` : undefined}>
      <AskForm />
      <Group title="Asking you" friends={of("asked")} />
      <Group title="Friends" friends={there} />
      <Group title="Asked by you" friends={of("requested")} />
      <Group title="Blocked" friends={blocked} />
      {friends.length === 0 && blocked.length === 0 && (
        <p class="hint">
          Friends see whether you are there, and may write to you alone. Ask somebody by name; they will find
          the request here.
        </p>
      )}
    </Frame>
  );
}

function AskForm() {
  const client = useClient();
  const me = useApp((state) => state.me.user);
  const field = useRef<HTMLInputElement>(null);
  const submit = async (event: Event) => {
    event.preventDefault();
    const input = field.current as HTMLInputElement;
    const user = asUser(input.value);
    if (!isUser(user) || user === me) {
      input.setCustomValidity(user === me ? "This is you." : "This cannot be the name of a user.");
      input.reportValidity();
      return;
    }
    if (await client.friends.do("request", user)) input.value = "";
  };
  return (
    <form class="ask-friend" onSubmit={submit} autocomplete="off">
      <label class="unseen" for="friend">
        Ask to be friends
      </label>
      <input
        id="friend"
        ref={field}
        required
        maxLength={128}
        spellcheck={false}
        autocapitalize="off"
        placeholder="Name of a user"
        onInput={(event) => event.currentTarget.setCustomValidity("")}
      />
      <button type="submit" class="button">
        Ask
      </button>
    </form>
  );
}

function Group({ title, friends }: { title: string; friends: readonly Friend[] }) {
  if (!friends.length) return null;
  return (
    <section aria-label={title}>
      <h3>{title}</h3>
      <ul class="people">
        {friends.map((friend) => (
          <FriendItem key={friend.user} friend={friend} />
        ))}
      </ul>
    </section>
  );
}

function FriendItem({ friend }: { friend: Friend }) {
  const client = useClient();
  const menu = usePersonMenu(friend.user);
  const { user, state, status, lastSeen } = friend;
  const note = status === "offline" && lastSeen ? `seen ${ago(lastSeen)}` : status;
  return (
    <li class="person" data-testid="friend" data-state={state} data-status={status}>
      <Avatar user={user} size="small" status={state === "friend" ? (status ?? "offline") : undefined} />
      <Name user={user} />
      {state === "friend" && <span class="note">{note}</span>}
      {state === "asked" && (
        <>
          <button
            type="button"
            class="button small primary"
            onClick={() => client.friends.do("accept", user)}
          >
            Accept
          </button>
          <button type="button" class="button small" onClick={() => client.friends.do("decline", user)}>
            Decline
          </button>
        </>
      )}
      <Menu label={`${user}: what to do`} items={menu}>
        <Icon name="more" size={16} />
      </Menu>
    </li>
  );
}
