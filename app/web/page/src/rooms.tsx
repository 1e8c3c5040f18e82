// The rooms: those of the user's list, those with one other user, and a field to open others.

import { useRef } from "preact/hooks";
import type { RoomEntry } from "../../sdk/src";
import { Icon } from "./icons";
import { arrows } from "./keys";
import { asRoom, isRoom, peerOf } from "./names";
import { Avatar, Name } from "./person";
import { shownRooms } from "./state";
import { useApp, useClient } from "./store";

export function OpenRoomForm() {
  const client = useClient();
  const field = useRef<HTMLInputElement>(null);
  const submit = (event: Event) => {
    event.preventDefault();
    const input = field.current as HTMLInputElement;
    const room = asRoom(input.value);
    if (!isRoom(room)) {
      input.setCustomValidity("Letters, digits, and _ . - after the first; 64 at the most.");
      input.reportValidity();
      return;
    }
    input.value = "";
    client.open(room);
    document.getElementById("say")?.focus();
  };
  return (
    <form class="open-room" onSubmit={submit} autocomplete="off">
      <label class="unseen" for="room">
        Room
      </label>
      <input
        id="room"
        ref={field}
        required
        maxLength={64}
        spellcheck={false}
        autocapitalize="off"
        enterkeyhint="go"
        placeholder="Open or create a room"
        onInput={(event) => event.currentTarget.setCustomValidity("")}
      />
      <button type="submit" class="icon-button" aria-label="Open room">
        <Icon name="plus" />
      </button>
    </form>
  );
}

export function RoomLists() {
  const state = useApp((s) => s);
  const { rooms, direct } = shownRooms(state);
  return (
    <div class="room-lists">
      <RoomList title="Rooms" entries={rooms} empty="Rooms that you read in are listed here." />
      <RoomList
        title="Direct messages"
        entries={direct}
        empty="Click on somebody's name to write to them alone."
      />
    </div>
  );
}

function RoomList({ title, entries, empty }: { title: string; entries: RoomEntry[]; empty: string }) {
  const open = useApp((state) => state.open?.name);
  const stop = entries.find((entry) => entry.room === open)?.room ?? entries[0]?.room;
  return (
    <section aria-label={title}>
      <h2>{title}</h2>
      {entries.length === 0 && <p class="hint">{empty}</p>}
      <ul onKeyDown={(event) => arrows(event, ".room-link")}>
        {entries.map((entry) => (
          <RoomItem key={entry.room} entry={entry} current={entry.room === open} stop={entry.room === stop} />
        ))}
      </ul>
    </section>
  );
}

function RoomItem({ entry, current, stop }: { entry: RoomEntry; current: boolean; stop: boolean }) {
  const client = useClient();
  const me = useApp((state) => state.me.user);
  const peer = peerOf(entry.room, me);
  const status = useApp((state) => state.friends?.find((friend) => friend.user === peer)?.status);
  const unread = entry.unread > 99 ? "99+" : `${entry.unread}`;
  return (
    <li class={`room-item${current ? " current" : ""}${entry.unread ? " unread" : ""}`}>
      <button
        type="button"
        class="room-link"
        aria-current={current ? "page" : undefined}
        tabIndex={stop ? 0 : -1}
        title={entry.topic || undefined}
        onClick={() => client.open(entry.room)}
        onKeyDown={(event) => event.key === "Delete" && client.forget(entry.room)}
      >
        {peer === undefined ? (
          <span class="hash" aria-hidden="true">
            #
          </span>
        ) : (
          <Avatar user={peer} size="small" status={status} />
        )}
        <Name user={peer ?? (entry.title || entry.room)} />
        {entry.unread > 0 && (
          <span class="badge">
            {unread}
            <span class="unseen"> unread</span>
          </span>
        )}
      </button>
      <button
        type="button"
        class="icon-button forget"
        tabIndex={-1}
        aria-label={`Forget ${peer ?? entry.room}`}
        title="Take off the list"
        onClick={() => client.forget(entry.room)}
      >
        <Icon name="close" size={14} />
      </button>
    </li>
  );
}
