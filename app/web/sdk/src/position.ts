import type { Position } from "./types.js";

const parts = (position: Position): [bigint, bigint] => position.split("-").map(BigInt) as [bigint, bigint];

/** Orders two positions of a room: below 0 when a stands before b, 0 when they are the same. */
export function compare(a: Position, b: Position): number {
  if (a === b) return 0;
  const [aEpoch, aOffset] = parts(a);
  const [bEpoch, bOffset] = parts(b);
  if (aEpoch !== bEpoch) return aEpoch < bEpoch ? -1 : 1;
  return aOffset < bOffset ? -1 : aOffset > bOffset ? 1 : 0;
}

/** Whether nothing stands between a position and a later one: offsets have no holes, and epochs begin at 0. */
export function follows(a: Position, b: Position): boolean {
  const [aEpoch, aOffset] = parts(a);
  const [bEpoch, bOffset] = parts(b);
  return aEpoch === bEpoch ? bOffset === aOffset + 1n : bOffset === 0n;
}

/** The greatest position before one, whether or not it was ever given. */
export function before(position: Position): Position {
  const [epoch, offset] = parts(position);
  return offset > 0n ? `${epoch}-${offset - 1n}` : `${epoch - 1n}-${2n ** 64n - 1n}`;
}

export const later = (a: Position | undefined, b: Position): Position => (a && compare(a, b) > 0 ? a : b);
