// The panel beside the messages: who is here, friends, or notifications.

import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import type { Message } from "../../sdk/src";
import { FriendsPanel } from "./friends";
import { Icon } from "./icons";
import { many, shortly } from "./look";
import { Menu } from "./menu";
import { leadsTo, noticeText } from "./notices";
import { Avatar, Name, usePersonMenu } from "./person";
import { listed, noticeType, unreadNotices } from "./state";
import { useApp, useClient } from "./store";

export function Panel() {
  const panel = useApp((state) => state.panel);
  if (panel === "people") return <People />;
  if (panel === "friends") return <FriendsPanel />;
  if (panel === "notifications") return <Notifications />;
  return null;
}

export function Frame({
  title,
  count,
  children,
}: {
  title: string;
  count?: string;
  children: ComponentChildren;
}) {
  const client = useClient();
  return (
    <aside class="panel" id="panel" aria-label={title}>
      <header>
        <h2>
          {title} {count && <span class="count">{count}</span>}
        </h2>
        <button
          type="button"
          class="icon-button"
          aria-label="Close the panel"
          onClick={() => client.showPanel(null)}
        >
          <Icon name="close" />
        </button>
      </header>
      <div class="panel-body">{children}</div>
    </aside>
  );
}

function People() {
  const presence = useApp((state) => state.open?.presence);
  const me = useApp((state) => state.me.user);
  const mine = (user: string) => (user === me ? 0 : 1);
  const users = [...(presence?.users ?? [])].sort(
    (a, b) => mine(a.user) - mine(b.user) || a.user.localeCompare(b.user),
  );
  const notes: string[] = [];
  if (presence && presence.total > users.length) notes.push(`and ${presence.total - users.length} more`);
  if (presence?.watchers) notes.push(many(presence.watchers, "watcher"));
  if (presence && !presence.complete) notes.push("a node did not answer: this list may lack people");
  return (
    <Frame title="Who is here" count={presence ? `${presence.total}` : undefined}>
      <ul class="people" data-testid="people">
        {users.map(({ user, sessions }) => (
          <Person
            key={user}
            user={user}
            note={[user === me ? "you" : "", sessions > 1 ? `×${sessions}` : ""].filter(Boolean).join(" ")}
          />
        ))}
      </ul>
      {users.length === 1 && (
        <p class="hint">
          Nobody else is here. Open this page in a second tab, or send the link of this room to somebody.
        </p>
      )}
      {notes.length > 0 && <p class="hint">{notes.join(" · ")}</p>}
    </Frame>
  );
}

function Person({ user, note }: { user: string; note: string }) {
  const menu = usePersonMenu(user);
  return (
    <li class="person">
      <Avatar user={user} size="small" />
      <Name user={user} />
      {note && <span class="note">{note}</span>}
      {menu.length > 0 && (
        <Menu label={`${user}: what to do`} items={menu}>
          <Icon name="more" size={16} />
        </Menu>
      )}
    </li>
  );
}

function Notifications() {
  const client = useClient();
  const notices = useApp((state) => state.notices);
  const unread = useApp(unreadNotices);
  useEffect(() => {
    if (unread) client.readNotices();
  }, [client, unread]);
  const all = listed(notices).reverse();
  return (
    <Frame title="Notifications">
      {all.length === 0 && (
        <p class="hint">
          Mentions, friend requests, and what services have to tell you are listed here. Write @ and a name to
          mention somebody.
        </p>
      )}
      <ul class="notices">
        {all.map((notice) => (
          <Notice key={notice.pos} notice={notice} />
        ))}
      </ul>
    </Frame>
  );
}

function Notice({ notice }: { notice: Message }) {
  const client = useClient();
  const { who, text } = noticeText(notice);
  const open = leadsTo(notice);
  const leads = noticeType(notice) !== "notification";
  const body = (
    <>
      <Avatar user={who} size="small" />
      <span class="notice-text">
        <Name user={who} /> <span dir="auto">{text}</span>
        <time dateTime={new Date(notice.ts).toISOString()}>{shortly(notice.ts)}</time>
      </span>
    </>
  );
  return (
    <li>
      {leads ? (
        <button type="button" class="notice" onClick={() => client.follow(open)}>
          {body}
        </button>
      ) : (
        <div class="notice">{body}</div>
      )}
    </li>
  );
}
