import { expect, test } from "vitest";
import { gist, half, mentionsIn, pieces, textOf } from "../src/text";

test("links lead to http and https alone, and end before the sentence does", () => {
  expect(pieces("see https://example.com/a?b=c. Or http://x.org!")).toEqual([
    { kind: "text", text: "see " },
    { kind: "link", text: "https://example.com/a?b=c", href: "https://example.com/a?b=c" },
    { kind: "text", text: ". Or " },
    { kind: "link", text: "http://x.org", href: "http://x.org" },
    { kind: "text", text: "!" },
  ]);
  for (const text of ["javascript:alert(1)", "data:text/html,hi", "ftp://x.org", "https://", "<b>bold</b>"])
    expect(pieces(text)).toEqual([{ kind: "text", text }]);
});

test("nothing of a text is lost, whatever it is", () => {
  for (const text of [
    "",
    "@",
    "@@bob@bob",
    "https://a.b https://c.d",
    "\u202Eevil https://x.y/\u202E z",
    "a@bob.com @bob",
  ])
    expect(
      pieces(text, ["bob"])
        .map((piece) => piece.text)
        .join(""),
    ).toBe(text);
});

test("a name is a mention where the message mentions that user, and not inside of a word", () => {
  const kinds = (text: string, ...users: string[]) =>
    pieces(text, users)
      .filter(({ kind }) => kind === "mention")
      .map((piece) => piece.text);
  expect(kinds("hi @bob, and @carol", "bob")).toEqual(["@bob"]);
  expect(kinds("hi @bobby", "bob")).toEqual([]);
  expect(kinds("me@bob", "bob")).toEqual([]);
  expect(kinds("hi @bob-two", "bob", "bob-two")).toEqual(["@bob-two"]);
});

test("a message mentions those whom it names, each once, and no more than sixteen", () => {
  expect(mentionsIn("@bob @carol @bob @dave", ["bob", "carol"])).toEqual(["bob", "carol"]);
  const users = Array.from({ length: 30 }, (_, i) => `user${i}x`);
  expect(mentionsIn(users.map((user) => `@${user}`).join(" "), users)).toHaveLength(16);
});

test("half a name is what stands behind the last @", () => {
  expect(half("hi @bo")).toBe("bo");
  expect(half("@")).toBe("");
  expect(half("hi @bob ")).toBeUndefined();
  expect(half("me@bo")).toBeUndefined();
});

test("what a message says is its text, or its JSON in one line", () => {
  expect(textOf("hi")).toBe("hi");
  expect(textOf({ text: "hi" })).toBe("hi");
  expect(textOf({ text: 7 })).toBeUndefined();
  expect(textOf(null)).toBeUndefined();
  expect(gist({ order: 7 })).toBe('{"order":7}');
  expect(gist("two\nlines")).toBe("two lines");
  expect(gist("x".repeat(500))).toHaveLength(141);
});
