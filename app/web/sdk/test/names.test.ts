import { describe, expect, test } from "vitest";
import { backoff, comesBack } from "../src/backoff.js";
import { directRoom, newKey, possibleRoom } from "../src/names.js";
import { compare, follows } from "../src/position.js";

describe("positions", () => {
  test("are ordered by epoch, then by offset, as numbers", () => {
    const sorted = ["0-0", "9-1", "10-0", "10-9", "10-10", "18446744073709551615-0"];
    expect([...sorted].reverse().sort(compare)).toEqual(sorted);
    expect(compare("10-9", "10-9")).toBe(0);
  });

  test("follow each other without holes, and an epoch begins at 0", () => {
    expect(follows("10-9", "10-10")).toBe(true);
    expect(follows("10-9", "10-11")).toBe(false);
    expect(follows("10-9", "11-0")).toBe(true);
    expect(follows("10-9", "11-1")).toBe(false);
  });
});

describe("names", () => {
  test("of direct rooms have one spelling, whoever asks", () => {
    expect(directRoom("bob", "alice")).toBe("@alice+bob");
    expect(directRoom("alice", "bob")).toBe("@alice+bob");
    expect(directRoom("auth0|5f", "ä")).toBe("@auth0=7C5f+=C3=A4");
    expect(directRoom("ab", "a")).toBe("@a+ab");
    // By bytes: U+FF5E stands before U+1F600, though its first UTF-16 unit is the greater one.
    expect(directRoom("\u{1F600}", "\uFF5E")).toBe("@=EF=BD=9E+=F0=9F=98=80");
  });

  test("of rooms are checked before they become part of an address", () => {
    for (const name of ["lobby", "a.b-c_d", "@alice+bob", "7"]) expect(possibleRoom(name)).toBe(true);
    for (const name of ["", "-a", "a/b", "a?b", "ä", "a".repeat(65), ".."])
      expect(possibleRoom(name)).toBe(false);
  });

  test("of messages are drawn anew each time", () => {
    expect(new Set(Array.from({ length: 1000 }, newKey)).size).toBe(1000);
    expect(newKey()).toMatch(/^[0-9a-f]{24}$/);
  });
});

test("the rule of the close codes says what to come back from", () => {
  const back = [1001, 1005, 1006, 1011, 1012, 1013, 4000, 4008, 4408, 4410, 4429, 4499];
  const away = [1000, 1002, 1003, 1007, 1008, 1009, 3000, 4500, 4501, 4502, 4510];
  expect(back.filter(comesBack)).toEqual(back);
  expect(away.filter(comesBack)).toEqual([]);
});

test("delays are spread, grow, and have bounds", () => {
  const delays = (attempt: number) => Array.from({ length: 500 }, () => backoff(attempt, 500, 20_000));
  expect(Math.max(...delays(0))).toBeLessThanOrEqual(1000);
  expect(Math.max(...delays(30))).toBeLessThanOrEqual(20_000);
  expect(Math.max(...delays(5))).toBeGreaterThan(8000);
  for (const attempt of [0, 5, 30]) expect(Math.min(...delays(attempt))).toBeGreaterThanOrEqual(500);
  expect(new Set(delays(5)).size).toBeGreaterThan(400);
});
