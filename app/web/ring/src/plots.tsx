import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { colour } from "./colours";
import type { Samples } from "./series";
import type { Sample, State } from "./state";
import { bytes, millis, number } from "./words";

interface Kind {
  title: string;
  figure: (s: Sample) => number | null;
  word: (n: number) => string;
  least: number; // the top of the scale, when nothing is higher
}

const kinds: Kind[] = [
  { title: "Messages a second", figure: (s) => s.messages, word: number, least: 10 },
  { title: "Connections", figure: (s) => s.connections, word: number, least: 10 },
  { title: "p99 until a position is given", figure: (s) => s.p99, word: millis, least: 10 },
  { title: "Bytes that wait for readers", figure: (s) => s.outbox, word: bytes, least: 1000 },
];

/** Plots are the last ten minutes of every node. */
export function Plots({ state, samples }: { state: State; samples: Samples }) {
  const ids = state.ring.ids?.length ? state.ring.ids : state.nodes.flatMap((n) => n.appid || []);
  const dark = useDark();
  return (
    <section class="plots" aria-label="The last ten minutes">
      {kinds.map((kind) => (
        <Plot
          key={`${kind.title} ${dark} ${ids.join()}`}
          kind={kind}
          ids={ids}
          data={samples.table(state.now, ids, kind.figure)}
        />
      ))}
    </section>
  );
}

function useDark(): boolean {
  const [dark, setDark] = useState(() => matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const media = matchMedia("(prefers-color-scheme: dark)");
    const change = () => setDark(media.matches);
    media.addEventListener("change", change);
    return () => media.removeEventListener("change", change);
  }, []);
  return dark;
}

function Plot({ kind, ids, data }: { kind: Kind; ids: string[]; data: ReturnType<Samples["table"]> }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>();
  const [under, setUnder] = useState<number | null>(null);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const made = new uPlot(options(kind, ids, element, setUnder), data, element);
    plot.current = made;
    const resize = new ResizeObserver(() => made.setSize(size(element)));
    resize.observe(element);
    return () => {
      resize.disconnect();
      made.destroy();
    };
  }, []);
  useEffect(() => plot.current?.setData(data), [data]);
  const values = ids.map((_, i) => (under === null ? latest(data[i + 1]) : (data[i + 1]?.[under] ?? null)));
  const said = ids.map((id, i) => `${id} ${worded(kind, values[i])}`).join(", ");
  return (
    <figure class="panel plot">
      <figcaption>
        <h2>{kind.title}</h2>
        <ul>
          {ids.map((id, i) => (
            <li key={id}>
              <span class="swatch" style={{ background: colour(ids, id) }} aria-hidden="true" />
              <span class="hidden">{id}: </span>
              {worded(kind, values[i])}
            </li>
          ))}
        </ul>
      </figcaption>
      <div ref={box} class="canvas" role="img" aria-label={`${kind.title}, ten minutes; now ${said}`} />
    </figure>
  );
}

function worded(kind: Kind, value: number | null | undefined): string {
  return value == null ? "–" : kind.word(value);
}

/** latest is the newest value of a row, if it is no older than two samples. */
function latest(row: (number | null)[] = []): number | null {
  return (
    row
      .slice(-3)
      .reverse()
      .find((v) => v !== null) ?? null
  );
}

const size = (element: HTMLElement) => ({ width: element.clientWidth, height: 132 });

function options(
  kind: Kind,
  ids: string[],
  element: HTMLElement,
  under: (index: number | null) => void,
): uPlot.Options {
  const style = getComputedStyle(element);
  const soft = style.getPropertyValue("--soft");
  const grid = { stroke: style.getPropertyValue("--line"), width: 1 };
  const axis = { stroke: soft, grid, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return {
    ...size(element),
    legend: { show: false },
    cursor: { sync: { key: "ring" }, y: false, points: { size: 6 } },
    scales: { y: { range: (_, _min, max) => [0, Math.max(max ?? 0, kind.least) * 1.08] } },
    axes: [
      {
        ...axis,
        size: 22,
        space: 70,
        values: (_, times) => times.map((t) => new Date(t * 1000).toLocaleTimeString("en-GB").slice(0, 5)),
      },
      { ...axis, size: 52, space: 34, values: (_, values) => values.map((v) => kind.word(v)) },
    ],
    series: [{}, ...ids.map((id) => ({ stroke: colour(ids, id), width: 1.75, points: { show: false } }))],
    hooks: { setCursor: [(u) => under(u.cursor.idx ?? null)] },
  };
}
