// Samples of the nodes, kept for ten minutes, as the plots want them.

import type { Sample, State } from "./state";

const step = 2; // seconds between two samples of a node
const kept = 600;

/** Samples are the last ten minutes of every node, by APPID. */
export class Samples {
  readonly #nodes = new Map<string, Map<number, Sample>>();

  /** add takes samples of a node in; one that is known already changes nothing. */
  add(appid: string, samples: Sample[]): void {
    const mine = this.#nodes.get(appid) ?? new Map<number, Sample>();
    this.#nodes.set(appid, mine);
    for (const s of samples) if (s.at > 0) mine.set(slot(s.at), s);
    const newest = Math.max(...mine.keys());
    for (const t of mine.keys()) if (t < newest - kept) mine.delete(t);
  }

  /** see takes in what the nodes that answer have said. */
  see(state: State): void {
    for (const n of state.nodes) if (n.answers && n.node) this.add(n.appid, [n.node]);
  }

  /**
   * table returns the seconds of the ten minutes until now, and for each node what it
   * was at each of them: null where it said nothing.
   */
  table(
    now: number,
    appids: string[],
    figure: (s: Sample) => number | null,
  ): [number[], ...(number | null)[][]] {
    const last = slot(now);
    const times = Array.from({ length: kept / step + 1 }, (_, i) => last - kept + i * step);
    const rows = appids.map((appid) => {
      const mine = this.#nodes.get(appid);
      return times.map((t) => {
        const s = mine?.get(t);
        return s ? figure(s) : null;
      });
    });
    for (const row of rows) bridge(row);
    return [times, ...rows];
  }
}

/** slot is the second to which a sample belongs. */
const slot = (at: number) => Math.floor(at / 1000 / step) * step;

/** bridge fills single holes: two samples may fall into one slot, and none into the next. */
function bridge(row: (number | null)[]): void {
  for (let i = 1; i < row.length - 1; i++) {
    const before = row[i - 1];
    if (row[i] === null && before != null && row[i + 1] != null) row[i] = before;
  }
}
