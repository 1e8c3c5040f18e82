import { expect, test } from "vitest";
import { hashOf, parse } from "../src/address";
import { hue, initials } from "../src/look";
import { asRoom, inboxOf, isRoom, isUser, label, peerOf } from "../src/names";
import { subject } from "../src/token";

test("rooms and users that cannot be are known before the server says so", () => {
  for (const room of ["lobby", "a.b-c_d", "0", "@alice+bob"]) expect(isRoom(room), room).toBe(true);
  for (const room of ["", "-", "a/b", "a b", "x".repeat(65), "@alice", "@a=zz+b"])
    expect(isRoom(room), room).toBe(false);
  for (const user of ["alice", "auth0|5f", "[D-Tail]", "ü"]) expect(isUser(user), user).toBe(true);
  for (const user of ["", "a b", "bell\u0007", "\u202Eevil", "ü".repeat(65)])
    expect(isUser(user), user).toBe(false);
  expect(asRoom(" #my room ")).toBe("my-room");
});

test("the other one in a direct room is read from its name", () => {
  expect(peerOf("@alice+bob", "alice")).toBe("bob");
  expect(peerOf("@alice+bob", "bob")).toBe("alice");
  expect(peerOf("@auth0=7C5f+bob", "bob")).toBe("auth0|5f");
  expect(peerOf("@alice+bob", "carol")).toBeUndefined();
  expect(peerOf("lobby", "bob")).toBeUndefined();
  expect(label("@alice+bob", "bob")).toBe("alice");
  expect(label("@alice+bob", "carol")).toBe("alice and bob");
  expect(label("lobby", "bob")).toBe("#lobby");
  expect(inboxOf("auth0|5f")).toBe("@auth0=7C5f");
});

test("a link leads to its room, and may bring a token", () => {
  const at = (hash: string, search = "") => parse({ hash, search });
  expect(at("#lobby")).toEqual({ room: "lobby", token: "" });
  expect(at("", "?room=team")).toEqual({ room: "team", token: "" });
  expect(at("#room=team&token=abc")).toEqual({ room: "team", token: "abc" });
  expect(at("#%E0%A4%A")).toEqual({ room: "", token: "" });
  expect(at("#a/b").room).toBe("");
  for (const room of ["lobby", "@alice+bob", "@auth0=7C5f+bob"]) expect(at(hashOf(room)).room).toBe(room);
});

test("the user of a token is read from it, and what is no token has none", () => {
  const token = `x.${btoa(JSON.stringify({ sub: "alice" }))}.y`;
  expect(subject(token)).toBe("alice");
  for (const bad of ["", "a.b.c", "x.e30.y", "..."]) expect(subject(bad)).toBeUndefined();
});

test("a name has the same colour everywhere, and initials to tell it by", () => {
  expect(hue("1111")).toBe(hue("1111"));
  expect(hue("1111")).not.toBe(hue("2222"));
  expect([initials("brisk-otter"), initials("ada"), initials("!!"), initials("👋hi")]).toEqual([
    "bo",
    "a",
    "?",
    "h",
  ]);
});
