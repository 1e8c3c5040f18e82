import { useMemo } from "preact/hooks";
import { colour } from "./colours";
import { arc, at, bands, moved, place, shares } from "./geometry";
import type { State, Whereabouts } from "./state";
import { number, percent } from "./words";

const outer = [152, 178] as const; // the ring as it is
const ghost = [181, 187] as const; // pieces of nodes that are off it
const inner = [116, 140] as const; // the nodes' shares, side by side

/** Ring draws the circle of 2^32 places: who has each, and how much each node has. */
export function Ring({ state, found }: { state: State; found: Whereabouts | null }) {
  const ids = state.ring.ids ?? [];
  const { now, full } = state.ring;
  const pieces = useMemo(() => bands(now, ...outer), [now]);
  const ghosts = useMemo(() => bands(moved(full, now), ...ghost), [full, now]);
  const nodes = ids.map((id) => state.nodes.find((n) => n.appid === id));
  const parts = shares(nodes.map((n) => n?.share ?? 0));
  const members = state.nodes.reduce((sum, n) => sum + (n.answers ? (n.node?.members ?? 0) : 0), 0);
  const words = ids.map((id, i) => `${id} ${percent(nodes[i]?.share ?? 0)}`).join(", ");
  return (
    <figure class="ring">
      <svg
        viewBox="-212 -212 424 424"
        role="img"
        aria-label={`Shares of the ring: ${words || "nobody is on it"}`}
      >
        <circle r={(outer[0] + outer[1]) / 2} class="empty" stroke-width={outer[1] - outer[0]} />
        {[...pieces].map(([i, d]) => (
          <path key={i} d={d} fill={colour(ids, ids[i])} />
        ))}
        {[...ghosts].map(
          ([i, d]) => i >= 0 && <path key={i} d={d} fill={colour(ids, ids[i])} class="ghost" />,
        )}
        {parts.map(({ from, to }, i) => {
          if (to - from < 1e-6) return null;
          const [x, y] = at((from + to) / 2, 88);
          return (
            <g key={ids[i]}>
              <path d={arc(from, to, ...inner)} fill={colour(ids, ids[i])} class="share" />
              <text x={x} y={y - 2} class="name">
                {ids[i]}
              </text>
              <text x={x} y={y + 13} class="part">
                {percent(to - from)}
              </text>
            </g>
          );
        })}
        <text y="-2" class="total">
          {number(members)}
        </text>
        <text y="15" class="part">
          {members === 1 ? "member" : "members"}
        </text>
        {found?.around && <Pin found={found} fill={colour(ids, found.home)} />}
      </svg>
      <figcaption>
        Outside, the ring as HAProxy hashes rooms to it; inside, each node's share.
        {ghosts.size > 1 &&
          " The thin pieces are those of nodes that are off the ring: the nodes below have their rooms."}
        {state.ring.assumed &&
          ids.length > 0 &&
          " HAProxy has not said who is on it: this is haproxy.cfg's ring of the nodes that answer."}
      </figcaption>
    </figure>
  );
}

/** Pin marks a room's place, with its name beside the ring, or on it where there is no room beside. */
function Pin({ found, fill }: { found: Whereabouts; fill: string }) {
  const spot = place(found.place);
  const [x, y] = at(spot, (outer[0] + outer[1]) / 2);
  const [tx, ty] = at(spot, 200);
  const [ix, iy] = at(spot, outer[0] - 6);
  const [ox, oy] = at(spot, ghost[1] + 2);
  const beside = Math.abs(ty) > 120;
  const side = beside ? "middle" : tx > 0 ? "end" : "start";
  const name = found.room.length > 24 ? `${found.room.slice(0, 23)}…` : found.room;
  return (
    <g class="pin">
      <line x1={ix} y1={iy} x2={ox} y2={oy} />
      <circle cx={x} cy={y} r="7" fill={fill} />
      <text
        x={beside ? tx : Math.sign(tx) * 208}
        y={beside ? ty + (ty > 0 ? 8 : 2) : ty - 13}
        text-anchor={side}
      >
        {name}
      </text>
    </g>
  );
}
