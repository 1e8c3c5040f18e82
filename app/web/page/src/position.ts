// What a position says besides its order: an epoch and an offset in it, both below 2⁶⁴.

import { compare, type Position } from "../../sdk/src";

const parts = (position: Position) => position.split("-").map(BigInt) as [bigint, bigint];

export const later = (a: Position, b: Position): Position => (compare(a, b) < 0 ? b : a);

export const epoch = (position: Position): string => position.split("-")[0] ?? "";

// offset is what people are shown of a position.
export const offset = (position: Position): string => position.split("-")[1] ?? "";

// before is the position that stands directly before another one in its epoch.
export function before(position: Position): Position {
  const [e, o] = parts(position);
  return o === 0n ? "0-0" : `${e}-${o - 1n}`;
}

// between is how many positions stand between two of one epoch, and undefined across epochs.
export function between(after: Position, upTo: Position): bigint | undefined {
  const [[ae, ao], [be, bo]] = [parts(after), parts(upTo)];
  return ae === be ? bo - ao - 1n : undefined;
}
