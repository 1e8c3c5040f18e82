// What stands where there is nothing to read.

import { RING } from "./icons";
import { peerOf } from "./names";
import { Avatar, Name } from "./person";
import type { OpenRoom } from "./room-state";
import { useApp, useClient } from "./store";
import { sentence } from "./text";

export function EmptyRoom({ room }: { room: OpenRoom }) {
  const peer = peerOf(
    room.name,
    useApp((state) => state.me.user),
  );
  const others = useApp((state) =>
    (state.open?.presence?.users ?? []).some(({ user }) => user !== state.me.user),
  );
  if (peer !== undefined)
    return (
      <div class="empty">
        <Avatar user={peer} />
        <p>
          <b>
            Nothing was said between you and <Name user={peer} /> yet.
          </b>
        </p>
        <p>Only the two of you can read what is said here.</p>
      </div>
    );
  return (
    <div class="empty">
      <img src={RING} alt="" width="56" height="56" />
      <p>
        <b>{others ? "Nobody has said anything here yet." : "You are the first here."}</b>
      </p>
      <p>Open this page in a second tab and talk to yourself, or send its link to somebody.</p>
      <p>
        <a class="button" href={location.href} target="_blank" rel="noopener noreferrer">
          Open a second tab
        </a>
      </p>
    </div>
  );
}

export function Refused({ room }: { room: OpenRoom }) {
  const client = useClient();
  return (
    <div class="empty" role="alert">
      <p>
        <b>This room is closed to you.</b>
      </p>
      <p>{sentence(room.refused)}</p>
      <p class="choices">
        <button type="button" class="button" onClick={() => client.open(room.name)}>
          Try again
        </button>
        <button type="button" class="button" onClick={() => client.forget(room.name)}>
          Forget this room
        </button>
      </p>
    </div>
  );
}

export function NoRoom() {
  const client = useClient();
  return (
    <div class="reading">
      <div class="empty">
        <img src={RING} alt="" width="56" height="56" />
        <p>
          <b>Pick a room, or make one up.</b>
        </p>
        <p>
          A room exists as soon as somebody is in it. Each one lives on one node of the ring, and moves when
          that node goes.
        </p>
        <p>
          <button type="button" class="button primary" onClick={() => client.open("lobby")}>
            Open #lobby
          </button>
        </p>
      </div>
    </div>
  );
}
