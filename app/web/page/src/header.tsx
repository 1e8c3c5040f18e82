// The head of the open room: what it is called and about, who is there, and what can be done.

import { useState } from "preact/hooks";
import { Dialog } from "./dialog";
import { Icon } from "./icons";
import { many } from "./look";
import { Menu } from "./menu";
import { peerOf } from "./names";
import { Avatar, Name } from "./person";
import type { OpenRoom } from "./room-state";
import { type Panel, unreadNotices } from "./state";
import { useApp, useClient } from "./store";

export function Header({ room }: { room: OpenRoom | null }) {
  const drawer = useApp((state) => state.drawer);
  const client = useClient();
  return (
    <header class="head">
      <button
        type="button"
        class="icon-button drawer-button"
        aria-label="Rooms"
        aria-expanded={drawer}
        aria-controls="rooms"
        onClick={() => client.store.set({ drawer: !drawer, panel: null })}
      >
        <Icon name="menu" />
      </button>
      {room ? <Title room={room} /> : <h1 class="title">No room is open</h1>}
      {room && <PanelButton panel="people" text={room.presence ? `${room.presence.total}` : ""} />}
      <PanelButton panel="friends" text="" />
      <PanelButton panel="notifications" text="" />
      {room && <RoomMenu room={room} />}
    </header>
  );
}

function Title({ room }: { room: OpenRoom }) {
  const me = useApp((state) => state.me.user);
  const peer = peerOf(room.name, me);
  return (
    <div class="titles">
      <h1 class="title">
        {peer === undefined ? <span class="hash">#</span> : <Avatar user={peer} size="small" />}
        <Name user={peer ?? (room.title || room.name)} />
      </h1>
      {room.topic && (
        <p class="topic" title={room.topic}>
          {room.topic}
        </p>
      )}
    </div>
  );
}

function PanelButton({ panel, text }: { panel: Panel; text: string }) {
  const client = useClient();
  const shown = useApp((state) => state.panel === panel);
  const friends = useApp((state) => state.friends);
  const notices = useApp(unreadNotices);
  if (panel === "friends" && !friends) return null;
  const asked = friends?.filter((friend) => friend.state === "asked").length ?? 0;
  const [name, label, count] = {
    people: ["people", "Who is here", 0] as const,
    friends: ["friends", asked ? `Friends, ${many(asked, "request")}` : "Friends", asked] as const,
    notifications: ["bell", notices ? `Notifications, ${notices} unread` : "Notifications", notices] as const,
  }[panel];
  return (
    <button
      type="button"
      class="icon-button panel-button"
      aria-label={text ? `${label}: ${text}` : label}
      title={label}
      aria-expanded={shown}
      aria-controls="panel"
      onClick={() => client.showPanel(shown ? null : panel)}
    >
      <Icon name={name} />
      {text && <span>{text}</span>}
      {count > 0 && <span class="badge">{count}</span>}
    </button>
  );
}

function RoomMenu({ room }: { room: OpenRoom }) {
  const client = useClient();
  const [describing, setDescribing] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      client.toast({ title: "Link copied", text: location.href });
    } catch {
      client.toast({ title: "The link to this room", text: location.href }); // no clipboard without HTTPS
    }
  };
  const items = [
    { text: "Copy the link", act: copy },
    { text: "Title and topic…", act: () => setDescribing(true) },
    { text: "Leave the room", act: () => client.leave() },
    { text: "Leave and forget", bad: true, act: () => client.forget(room.name) },
  ];
  return (
    <>
      <Menu label="This room" items={items}>
        <Icon name="more" />
      </Menu>
      {describing && <Describe room={room} close={() => setDescribing(false)} />}
    </>
  );
}

function Describe({ room, close }: { room: OpenRoom; close: () => void }) {
  const client = useClient();
  const [title, setTitle] = useState(room.title);
  const [topic, setTopic] = useState(room.topic);
  const submit = (event: Event) => {
    event.preventDefault();
    client.conversation?.describe(title.trim(), topic.trim());
    close();
  };
  return (
    <Dialog title="Title and topic" close={close}>
      <form class="sign-in" onSubmit={submit} autocomplete="off">
        <label class="field">
          <span>Title</span>
          <input value={title} maxLength={100} onInput={(event) => setTitle(event.currentTarget.value)} />
        </label>
        <label class="field">
          <span>Topic</span>
          <input value={topic} maxLength={500} onInput={(event) => setTopic(event.currentTarget.value)} />
        </label>
        <p class="hint">Everybody in the room sees them. It needs a token that allows to manage the room.</p>
        <div class="choices">
          <button type="submit" class="button primary">
            Save
          </button>
        </div>
      </form>
    </Dialog>
  );
}
