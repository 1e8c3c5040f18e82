import { colour } from "./colours";
import type { State } from "./state";
import { clock, eventTone } from "./words";

/** Events is the feed, newest first. */
export function Events({ state }: { state: State }) {
  const ids = state.ring.ids ?? [];
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, also by keyboard
    <div class="feed" role="log" aria-live="polite" aria-labelledby="events-title" tabIndex={0}>
      <ol>
        {state.events.map((e) => (
          <li key={`${e.by} ${e.seq}`} class={eventTone(e.kind)}>
            <time dateTime={new Date(e.at).toISOString()}>{clock(e.at, state.now)}</time>
            <span
              class="swatch"
              style={{ background: e.node ? colour(ids, e.node) : undefined }}
              aria-hidden="true"
            />
            <span>
              <strong>{e.node || "HAProxy"}</strong> {e.text}
            </span>
          </li>
        ))}
      </ol>
    </div>
  );
}
