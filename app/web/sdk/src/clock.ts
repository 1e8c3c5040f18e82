// All waits of the package go through these few functions, so that tests with fake timers hold all of them.

// The longest delay that timers take; a longer one would fire at once.
const LONGEST_MS = 2 ** 31 - 1;

export type Cancel = () => void;

/** after calls back once, unless it is cancelled before. */
export function after(ms: number, callback: () => void): Cancel {
  const timer = setTimeout(callback, Math.min(ms, LONGEST_MS));
  return () => clearTimeout(timer);
}

/** idly is after for what need not keep a process of Node alive. */
export function idly(ms: number, callback: () => void): Cancel {
  const timer: unknown = setTimeout(callback, Math.min(ms, LONGEST_MS));
  (timer as { unref?: () => void }).unref?.();
  return () => clearTimeout(timer as number);
}

/** Waits for as long as an error says, a second if it does not, and a little longer, each a different while. */
export const waitOut = ({ retryAfter }: { retryAfter: number }): Promise<void> =>
  new Promise((done) => idly((retryAfter || 1000) * (1 + Math.random() / 4), done));
