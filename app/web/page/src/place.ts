// The reader's place among the messages: at the end while the end is looked at, else at the
// row that stands topmost, whatever is put above it or grows.

const NEAR = 80; // pixels from the end that count as the end
const EDGE = 700; // pixels from an edge at which another page is read

// What the place tells: that an edge is near, and whether the end is in view.
export interface Ears {
  older(): void;
  newer(): void;
  atEnd(end: boolean): void;
}

const fromEnd = (e: HTMLElement) => e.scrollHeight - e.scrollTop - e.clientHeight;

// topmost is the first row that can be seen, by halving.
function topmost(scroller: HTMLElement): HTMLElement | undefined {
  const rows = scroller.querySelectorAll<HTMLElement>("[data-id]");
  const top = scroller.getBoundingClientRect().top;
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((rows[middle] as HTMLElement).getBoundingClientRect().bottom <= top) low = middle + 1;
    else high = middle;
  }
  return rows[low];
}

const rowOf = (scroller: HTMLElement, id: string): HTMLElement | null =>
  scroller.querySelector(`[data-id="${CSS.escape(id)}"]`);

// A Kept place is what keep goes by: what the reader looked at when the page last knew.
interface Kept {
  readonly pinned: boolean; // to the end
  readonly id: string; // of the topmost row
  readonly top: number; // where it stood on the screen
  readonly scrolled: number;
  readonly end: number; // how far one could scroll
}

const endOf = (e: HTMLElement) => e.scrollHeight - e.clientHeight;

export class Place {
  ears: Ears | undefined;
  #scroller: HTMLElement | undefined;
  #kept: Kept = { pinned: true, id: "", top: 0, scrolled: 0, end: 0 };

  // watch begins to keep the place; what it returns ends that.
  watch(scroller: HTMLElement): () => void {
    this.#scroller = scroller;
    const observer = new ResizeObserver(() => this.keep());
    const note = () => this.note();
    observer.observe(scroller);
    for (const child of scroller.children) observer.observe(child);
    scroller.addEventListener("scroll", note, { passive: true });
    return () => {
      observer.disconnect();
      scroller.removeEventListener("scroll", note);
    };
  }

  // note remembers the place, as the reader has it.
  note(): void {
    const here = this.#scroller;
    if (!here) return;
    const row = topmost(here);
    this.#kept = {
      pinned: fromEnd(here) < NEAR,
      id: row?.dataset.id ?? "",
      top: row?.getBoundingClientRect().top ?? 0,
      scrolled: here.scrollTop,
      end: endOf(here),
    };
    this.ears?.atEnd(this.#kept.pinned);
    if (here.scrollTop < EDGE) this.ears?.older();
    if (fromEnd(here) < EDGE) this.ears?.newer();
  }

  // keep goes back there after something has changed. The reader may have scrolled since, which
  // is noted a moment later: that is not taken back.
  keep(): void {
    const here = this.#scroller;
    if (!here) return;
    const { pinned, id, top, scrolled, end } = this.#kept;
    const clamped = here.scrollTop < scrolled && fromEnd(here) < 1;
    const moved = clamped ? 0 : here.scrollTop - scrolled;
    const atEnd = pinned && moved >= 0;
    const row = atEnd ? null : rowOf(here, id);
    if (atEnd && endOf(here) !== end) here.scrollTop = here.scrollHeight;
    if (row) here.scrollTop += row.getBoundingClientRect().top - (top - moved);
    this.#kept = { pinned: atEnd, id, top: top - moved, scrolled: here.scrollTop, end: endOf(here) };
  }

  toEnd(): void {
    const here = this.#scroller;
    if (here) here.scrollTop = here.scrollHeight;
    this.note();
  }

  // toRow shows a row in the middle.
  toRow(id: string): HTMLElement | null {
    const row = this.#scroller ? rowOf(this.#scroller, id) : null;
    row?.scrollIntoView({ block: "center" });
    this.note();
    return row;
  }
}
