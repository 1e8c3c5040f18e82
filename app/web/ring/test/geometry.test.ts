import { describe, expect, it } from "vitest";
import { arc, at, bands, moved, place, shares, stretches } from "../src/geometry";

describe("the ring as shapes", () => {
  it("begins at the top and goes clockwise", () => {
    const round = (p: [number, number]) => p.map((n) => Math.round(n) + 0);
    expect(round(at(0, 10))).toEqual([0, -10]);
    expect(round(at(0.25, 10))).toEqual([10, 0]);
    expect(round(at(0.5, 10))).toEqual([0, 10]);
    expect(round(at(0.75, 10))).toEqual([-10, 0]);
  });

  it("puts places of 2^32 where they are on the circle", () => {
    expect(place(0)).toBe(0);
    expect(place(2 ** 31)).toBe(0.5);
  });

  it("draws a long arc the long way around", () => {
    expect(arc(0, 0.25, 5, 10)).toContain("A10 10 0 0 1");
    expect(arc(0, 0.75, 5, 10)).toContain("A10 10 0 1 1");
  });

  it("draws a whole circle in two halves, which one arc cannot", () => {
    expect(arc(0, 1, 5, 10).match(/M/g)).toHaveLength(2);
  });

  it("joins pieces that have the same node", () => {
    expect(stretches("0011")).toEqual([
      { digit: "0", from: 0, to: 0.5 },
      { digit: "1", from: 0.5, to: 1 },
    ]);
    expect(stretches("")).toEqual([]);
  });

  it("makes one path of each node's pieces", () => {
    const paths = bands("0101z", 5, 10);
    expect([...paths.keys()]).toEqual([0, 1, 35]);
    expect(paths.get(0)?.match(/M/g)).toHaveLength(2);
  });

  it("knows which pieces were another node's", () => {
    expect(moved("0120", "0320")).toBe(" 1  ");
    expect(moved("01", "")).toBe("01");
    expect([...bands(moved("0120", "0320"), 5, 10).keys()]).toEqual([-1, 1]);
  });

  it("lays shares side by side", () => {
    expect(shares([0.5, 0.25, 0.25]).map((s) => [s.from, s.to])).toEqual([
      [0, 0.5],
      [0.5, 0.75],
      [0.75, 1],
    ]);
  });
});
