// How a user stands on the page: a round sign with initials, and a name that cannot reorder
// the text around it.

import type { Friend } from "../../sdk/src";
import { hue, initials } from "./look";
import type { MenuItem } from "./menu";
import { useApp, useClient } from "./store";

type Status = Friend["status"];

export const Avatar = ({
  user,
  size = "",
  status,
}: {
  user: string;
  size?: "small" | "";
  status?: Status;
}) => (
  <span class={`avatar ${size}`} style={{ "--hue": hue(user) }} aria-hidden="true">
    <span>{initials(user)}</span>
    {status && <i class={`presence ${status}`} />}
  </span>
);

export const Name = ({ user }: { user: string }) => (
  <bdi class="name" title={user}>
    {user}
  </bdi>
);

// usePersonMenu is what can be done about a user.
export function usePersonMenu(user: string): MenuItem[] {
  const client = useClient();
  const me = useApp((state) => state.me.user);
  const friends = useApp((state) => state.friends);
  const blocked = useApp((state) => state.blocked.some((other) => other.user === user));
  if (user === me) return [];
  const { friends: list } = client;
  const items: MenuItem[] = [{ text: "Send a direct message", act: () => client.openDirect(user) }];
  if (!friends) return items;
  if (blocked) return [{ text: "Unblock", act: () => list.do("unblock", user) }];
  const state = friends.find((friend) => friend.user === user)?.state ?? "none";
  if (state === "none") items.push({ text: "Ask to be friends", act: () => list.do("request", user) });
  if (state === "asked") {
    items.push({ text: "Accept the request", act: () => list.do("accept", user) });
    items.push({ text: "Decline the request", act: () => list.do("decline", user) });
  }
  if (state === "requested")
    items.push({ text: "Take the request back", act: () => list.do("remove", user) });
  if (state === "friend") items.push({ text: "Remove from friends", bad: true, act: () => confirmRemove() });
  items.push({ text: "Block", bad: true, act: () => confirmBlock() });
  return items;

  function confirmRemove() {
    client.ask({
      title: `Remove ${user} from your friends?`,
      text: "Neither of you sees any more whether the other one is there.",
      verb: "Remove",
      act: () => list.do("remove", user),
    });
  }

  function confirmBlock() {
    client.ask({
      title: `Block ${user}?`,
      text: "Requests and direct messages of this user no longer reach you. The user is not told.",
      verb: "Block",
      act: () => list.do("block", user),
    });
  }
}
