// The messages of the open room, in a part that scrolls.

import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { EmptyRoom, Refused } from "./empty";
import { Icon } from "./icons";
import { arrows } from "./keys";
import { sentenceName } from "./names";
import { Place } from "./place";
import { END, type OpenRoom, UNREAD } from "./room-state";
import { MessageRow } from "./row";
import { rows } from "./rows";
import { useApp, useClient } from "./store";

const QUIET_MS = 500; // for which a screen reader does not read out a page of old messages

export function Messages({ room }: { room: OpenRoom }) {
  const client = useClient();
  const me = useApp((state) => state.me.user);
  const scroller = useRef<HTMLDivElement>(null);
  const [end, setEnd] = useState(true);
  const [active, setActive] = useState("");
  const quiet = useQuiet(room.loading);
  const { timeline, divider, goTo } = room;
  const list = useMemo(() => rows(timeline, me, divider), [timeline, me, divider]);

  const [place] = useState(() => new Place());
  place.ears = {
    older: () => client.conversation?.pages.older(),
    newer: () => client.conversation?.pages.newer(),
    atEnd: (here) => {
      setEnd(here);
      client.conversation?.look(here);
    },
  };
  useLayoutEffect(() => place.watch(scroller.current as HTMLElement), [place]);
  useLayoutEffect(() => place.keep());
  useLayoutEffect(() => {
    if (goTo?.id === END) place.toEnd();
    else if (goTo) return found(place.toRow(goTo.id), goTo.id);
  }, [place, goTo]);
  useLayoutEffect(() => place.note(), [place, timeline.older, timeline.newer, room.loaded]);

  const rowAt = (event: Event) =>
    setActive((event.target as HTMLElement).closest<HTMLElement>("[data-id]")?.dataset.id ?? "");
  const empty = room.loaded && list.length === 0;
  return (
    <div class="reading">
      <section
        ref={scroller}
        class="scroller"
        aria-label="Messages, scrollable"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        tabIndex={0}
        onKeyDown={(event) =>
          (event.target as HTMLElement).closest("button, a") === null && arrows(event, ".row")
        }
        onPointerOver={rowAt}
        onPointerLeave={(event) => event.pointerType === "mouse" && setActive("")} // a finger leaves before its click
        onFocusCapture={rowAt}
        onBlurCapture={({ currentTarget, relatedTarget }) =>
          relatedTarget && !currentTarget.contains(relatedTarget as Node) && setActive("")
        }
      >
        <div class="flow">
          <Top room={room} />
          <div
            class="log"
            role="log"
            aria-label="Messages"
            aria-live={quiet ? "off" : "polite"}
            aria-relevant="additions"
          >
            {list.map((row) => (
              <MessageRow key={row.id} row={row} me={me} active={row.id === active} />
            ))}
          </div>
          {empty && !room.refused && <EmptyRoom room={room} />}
          {room.refused && <Refused room={room} />}
        </div>
      </section>
      {(!end || timeline.newer !== undefined) && (
        <button type="button" class="jump" onClick={() => client.conversation?.pages.toEnd()}>
          <Icon name="down" size={15} /> {room.fresh ? `${room.fresh} new` : "To the latest"}
        </button>
      )}
    </div>
  );
}

// found leads the eye, and the focus, to a message.
function found(row: HTMLElement | null, id: string): (() => void) | undefined {
  if (!row || id === UNREAD) return undefined;
  row.focus({ preventScroll: true });
  row.classList.add("found");
  const timer = setTimeout(() => row.classList.remove("found"), 2_000);
  return () => clearTimeout(timer);
}

function Top({ room }: { room: OpenRoom }) {
  const me = useApp((state) => state.me.user);
  if (!room.loaded || room.timeline.older !== undefined)
    return (
      <div class="top">
        {room.loading && !room.refused && <span class="spinner" aria-label="Loading messages" role="img" />}
      </div>
    );
  if (!room.timeline.entries.length) return null;
  return (
    <p class="top">
      This is where <b>{sentenceName(room.name, me)}</b> begins.
    </p>
  );
}

// useQuiet says that old messages come in, and for a moment after it.
function useQuiet(loading: boolean): boolean {
  const [quiet, setQuiet] = useState(loading);
  useLayoutEffect(() => {
    if (loading) {
      setQuiet(true);
      return;
    }
    const timer = setTimeout(() => setQuiet(false), QUIET_MS);
    return () => clearTimeout(timer);
  }, [loading]);
  return quiet || loading;
}
