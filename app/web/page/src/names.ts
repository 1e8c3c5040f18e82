// What rooms and users may be called, and what the names of inboxes and direct rooms say.

const ROOM = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
const USER = /^[^\p{C}\p{Z}]+$/u;
const PLAIN = /[A-Za-z0-9_.-]/;

export const bytes = (text: string): number => new TextEncoder().encode(text).length;

export const isUser = (name: string): boolean => USER.test(name) && bytes(name) <= 128;

export const isRoom = (name: string): boolean => ROOM.test(name) || users(name) !== undefined;

// asRoom makes a possible name of what somebody typed, as far as that goes.
export const asRoom = (typed: string): string => typed.trim().replace(/^#/, "").replace(/\s+/g, "-");

export const asUser = (typed: string): string => typed.trim().replace(/\s+/g, "-");

function escaped(user: string): string {
  return Array.from(new TextEncoder().encode(user), (byte) => {
    const c = String.fromCharCode(byte);
    return PLAIN.test(c) ? c : `=${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }).join("");
}

function unescaped(name: string): string | undefined {
  try {
    return decodeURIComponent(name.replaceAll("=", "%"));
  } catch {
    return undefined;
  }
}

export const inboxOf = (user: string): string => `@${escaped(user)}`;

// users are the two of a direct room, or undefined if the room is none.
function users(room: string): [string, string] | undefined {
  const match = /^@([A-Za-z0-9_.=-]+)\+([A-Za-z0-9_.=-]+)$/.exec(room);
  const [a, b] = [unescaped(match?.[1] ?? "="), unescaped(match?.[2] ?? "=")];
  return a && b ? [a, b] : undefined;
}

// peerOf is the other one in a direct room of mine.
export function peerOf(room: string, me: string): string | undefined {
  const pair = users(room);
  if (pair?.[0] === me) return pair[1];
  if (pair?.[1] === me) return pair[0];
  return undefined;
}

// label is what a room is called on the screen.
export function label(room: string, me: string): string {
  const pair = users(room);
  if (!pair) return `#${room}`;
  return peerOf(room, me) ?? pair.join(" and ");
}

// sentenceName is how a sentence names a room.
export function sentenceName(room: string, me: string): string {
  const peer = peerOf(room, me);
  return peer === undefined ? label(room, me) : `the talk with ${peer}`;
}

const pick = (words: string) => {
  const all = words.split(" ");
  return all[Math.floor(Math.random() * all.length)];
};

// randomName is a friendly name; each tab draws its own, so that two tabs are two people.
export const randomName = (): string =>
  `${pick("brisk calm clever cosy early fair gentle happy jolly keen kind lively lucky merry mild nimble proud quick quiet sunny swift tidy warm witty")}-${pick("badger beaver crane dolphin falcon finch fox hare heron ibex kestrel lark lynx marten otter owl panda puffin robin seal stork swan tern wren")}`;
