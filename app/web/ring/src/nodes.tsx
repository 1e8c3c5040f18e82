import { colour } from "./colours";
import type { Seen, State } from "./state";
import { bytes, millis, number, percent, span, standing } from "./words";

const columns = [
  "Node",
  "State",
  "Share",
  "Rooms",
  "Members",
  "Connections",
  "Messages/s",
  "p99",
  "Outbox",
  "Up",
];

/** Nodes is a row for each node, on the ring or not. */
export function Nodes({ state }: { state: State }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, also by keyboard
    <section class="scroll" aria-label="Nodes, scrollable" tabIndex={0}>
      <table class="nodes">
        <thead>
          <tr>
            {columns.map((c) => (
              <th key={c} scope="col">
                {c}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {state.nodes.map((n) => (
            <Row key={n.appid + n.address} n={n} state={state} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Row({ n, state }: { n: Seen; state: State }) {
  const ids = state.ring.ids ?? [];
  const { tone, word, detail } = standing(n, state);
  const node = n.node;
  const figures: [string, string][] = node
    ? [
        ["Rooms", number(node.rooms)],
        ["Members", number(node.members)],
        ["Connections", number(node.connections) + (node.streams ? ` (${number(node.streams)} SSE)` : "")],
        ["Messages/s", n.answers ? number(node.messages) : "–"],
        ["p99", n.answers ? millis(node.p99) : "–"],
        ["Outbox", bytes(node.outbox)],
        ["Up", n.answers ? span(state.now - node.started) : "–"],
      ]
    : columns.slice(3).map((c) => [c, "–"]);
  return (
    <>
      <tr class={n.answers ? "" : "silent"}>
        <th scope="row" title={node ? `${n.address} · ${node.version}` : n.address}>
          <span class="swatch" style={{ background: colour(ids, n.appid) }} aria-hidden="true" />
          {n.appid || n.address}
        </th>
        <td data-label="State">
          <span class={`state ${tone}`}>{word}</span>
        </td>
        <td data-label="Share" class="share">
          <span class="meter" aria-hidden="true">
            <span style={{ width: `${100 * n.share}%`, background: colour(ids, n.appid) }} />
          </span>
          {percent(n.share)}
        </td>
        {figures.map(([label, value]) => (
          <td key={label} data-label={label}>
            {value}
          </td>
        ))}
      </tr>
      {detail && (
        <tr class="detail">
          <td colSpan={columns.length}>
            <span class={tone}>{detail}</span>
            {!n.answers && node && " Its figures are those of its last answer."}
          </td>
        </tr>
      )}
    </>
  );
}
