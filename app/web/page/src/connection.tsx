// What is said when the connection is gone, and the line at the foot of the page, on which one
// can see the sharding: which node serves the room, and how the reader came there.

import { useEffect, useRef, useState } from "preact/hooks";
import { hue, many, timeOf } from "./look";
import { sentenceName } from "./names";
import { offset } from "./position";
import { type Arrival, type OpenRoom, shardOf } from "./room-state";
import type { State } from "./state";
import { useApp, useClient } from "./store";
import { capital, sentence } from "./text";

type Condition = "joined" | "connecting" | "waiting" | "closed";

const WORDS: Record<Condition, string> = {
  joined: "Connected",
  connecting: "Connecting",
  waiting: "Reconnecting",
  closed: "Not connected",
};

// condition is that of the main connection, or of the open room's where that one is worse.
function condition({ link, open }: State): Condition {
  if (link.state !== "connected") return link.state;
  if (!open || open.refused || open.state === "joined") return "joined";
  return open.loaded ? "waiting" : "connecting";
}

// ConnectionNotice stands above the messages, which it moves down: not while a first connection
// or another room is on its way, of which the foot of the page tells.
export function ConnectionNotice() {
  const client = useClient();
  const now = useApp(condition);
  const link = useApp((state) => state.link);
  const lost = useRef(false);
  lost.current = now === "waiting" || now === "closed" || (lost.current && now !== "joined");
  if (!lost.current || now === "joined") return null;
  const text = {
    connecting: "Connecting…",
    waiting: `${sentence(link.reason) || "The connection is gone."} What you write is kept and sent later.`,
    closed: sentence(link.reason) || "The connection was closed.",
  }[now];
  return (
    <div class={`connection ${now}`} data-testid="connection">
      {now !== "closed" && <span class="spinner" aria-hidden="true" />}
      <span role="alert">{text}</span>
      {link.state === "waiting" && link.retryAt !== undefined && <Countdown to={link.retryAt} />}
      {now !== "connecting" && (
        <button type="button" class="button small" onClick={() => client.retry()}>
          {now === "closed" ? "Connect again" : "Retry now"}
        </button>
      )}
    </div>
  );
}

function Countdown({ to }: { to: number }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick(Date.now()), 250);
    return () => clearInterval(timer);
  }, []);
  return (
    <span class="countdown" aria-hidden="true">
      Next try in {Math.max(0, Math.ceil((to - Date.now()) / 1000))} s
    </span>
  );
}

export function Footer() {
  const now = useApp(condition);
  const transport = useApp((state) => state.link.transport);
  const room = useApp((state) => state.open);
  return (
    <footer class="foot">
      <span class="condition">
        <i class={`dot ${now}`} data-testid="dot" data-state={now} aria-hidden="true" />
        <span role="status">{WORDS[now]}</span>
      </span>
      {room && shardOf(room) && <Served room={room} />}
      {room && <Arrived room={room} />}
      {transport && (
        <span class="transport" data-testid="transport" title="What the connection runs over">
          {transport === "sse" ? "SSE" : "WebSocket"}
        </span>
      )}
    </footer>
  );
}

function Served({ room }: { room: OpenRoom }) {
  const me = useApp((state) => state.me.user);
  const before = room.shards.slice(0, -1);
  return (
    <span class="served" data-testid="served">
      <span class="word">
        <b>{capital(sentenceName(room.name, me))}</b> is served by{" "}
      </span>
      <Node name={shardOf(room)} />
      {before.length > 0 && (
        <span class="before">
          {" "}
          before by{" "}
          {[...before].reverse().map((name) => (
            <Node key={name} name={name} />
          ))}
        </span>
      )}
    </span>
  );
}

const Node = ({ name }: { name: string }) => (
  <b class="node" style={{ "--hue": hue(name) }} title="The hash of the room's name gives it to this node">
    node {name}
  </b>
);

function Arrived({ room }: { room: OpenRoom }) {
  const { arrival, position } = room;
  if (room.state === "left" || !room.loaded) return null;
  if (position === "0-0")
    return (
      <span class="position" data-testid="position">
        empty log
      </span>
    );
  return (
    <span
      class="position"
      data-testid="position"
      title={`The position of the last message in this room's log: ${position}`}
    >
      position {position.split("-")[0]}-<b>{offset(position)}</b> · {how(arrival)}
    </span>
  );
}

// how says how the reader came to the position.
function how(arrival: Arrival): string {
  if (arrival.how === "read") return "read from the log";
  if (arrival.how === "live") return "live";
  const at = `back at ${timeOf(arrival.at)}`;
  if (!arrival.complete) return `${at}, with a gap`;
  return arrival.missed
    ? `${at}: ${many(arrival.missed, "message")} recovered, none lost`
    : `${at}: nothing was missed`;
}
