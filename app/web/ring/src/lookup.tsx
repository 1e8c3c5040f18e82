import { useEffect, useRef } from "preact/hooks";
import { colour } from "./colours";
import type { Picture } from "./feed";
import type { Whereabouts } from "./state";

/** Lookup asks for the name of a room and says where it lives, and why. */
export function Lookup({
  picture,
  ids,
  onLook,
}: {
  picture: Picture;
  ids: string[];
  onLook: (room: string) => void;
}) {
  const { room, found, wrong } = picture;
  const input = useRef<HTMLInputElement>(null);
  // The address may name a room. What is being typed stays.
  useEffect(() => {
    const field = input.current;
    if (room && field && document.activeElement !== field) field.value = room;
  }, [room]);
  return (
    <div class="lookup">
      <form
        onSubmit={(e) => {
          e.preventDefault();
          onLook(input.current?.value.trim() ?? "");
        }}
      >
        <label for="room">Where is the room</label>
        <input
          id="room"
          ref={input}
          maxLength={800}
          placeholder="lobby"
          spellcheck={false}
          autocomplete="off"
          autocapitalize="off"
          enterkeyhint="search"
          onKeyDown={(e) => {
            if (e.key !== "Escape") return;
            e.currentTarget.value = "";
            onLook("");
          }}
        />
        <button type="submit">Find</button>
      </form>
      <div aria-live="polite">
        {wrong && <p class="wrong">{wrong}</p>}
        {found && (
          <>
            <p class="answer">
              {found.why !== "nowhere" && (
                <span class="swatch" style={{ background: colour(ids, found.home) }} aria-hidden="true" />
              )}
              <span class={`tag ${found.why}`}>{words[found.why]}</span>
              {found.split && <span class="tag split">split</span>} {found.text}
            </p>
            <Around found={found} ids={ids} />
          </>
        )}
      </div>
    </div>
  );
}

const words = {
  hash: "by its hash",
  moved: "moved",
  pinned: "pinned",
  computed: "computed",
  nowhere: "no home",
};

/** Around magnifies the ring at the room's place: the nearest point wins. */
function Around({ found, ids }: { found: Whereabouts; ids: string[] }) {
  const near = found.around ?? [];
  if (!near.length) return null;
  const span = Math.max(...near.map((p) => Math.abs(p.distance)));
  const winner = near.reduce((a, b) => (Math.abs(b.distance) < Math.abs(a.distance) ? b : a));
  const x = (distance: number) => 150 + (140 * distance) / span;
  return (
    <svg
      class="around"
      viewBox="0 0 300 50"
      role="img"
      aria-label={`The nearest point of the ring is one of ${winner.id}.`}
    >
      <line x1="4" x2="296" y1="24" y2="24" class="axis" />
      <line
        x1="150"
        x2={x(winner.distance)}
        y1="24"
        y2="24"
        class="nearest"
        stroke={colour(ids, String(winner.id))}
      />
      {near.map((p) => (
        <circle
          key={p.distance}
          cx={x(p.distance)}
          cy="24"
          r={p === winner ? 6.5 : 4.5}
          fill={colour(ids, String(p.id))}
        />
      ))}
      <path d="M150 12l5 -8h-10z" class="mark" />
      <line x1="150" x2="150" y1="10" y2="36" class="mark" />
      <text x="150" y="45">
        {2 ** 32 / (2 * span) >= 2 ? `magnified ${Math.round(2 ** 32 / (2 * span))} times` : ""}
      </text>
    </svg>
  );
}
