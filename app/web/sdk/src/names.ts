const ROOM = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$|^@[A-Za-z0-9_.=+-]+$/;

export const possibleRoom = (name: string): boolean => ROOM.test(name);

const utf8 = new TextEncoder();

export const byteLength = (text: string): number => utf8.encode(text).length;

/** A user's id as it stands in the name of a room: letters, digits, _ . - stay, other bytes become =XX. */
const escaped = (user: string): string =>
  Array.from(utf8.encode(user), (byte) => {
    const letter = String.fromCharCode(byte);
    return /[A-Za-z0-9_.-]/.test(letter) ? letter : `=${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }).join("");

/** The room of two users, who stand in the order of the bytes of their ids. */
export function directRoom(a: string, b: string): string {
  const [x, y] = [utf8.encode(a), utf8.encode(b)];
  let i = 0;
  while (i < x.length && x[i] === y[i]) i++;
  const [first, second] = (x[i] ?? -1) <= (y[i] ?? -1) ? [a, b] : [b, a];
  return `@${escaped(first)}+${escaped(second)}`;
}

/** A key that no other message has. crypto is missing in Node 18's modules. */
export function newKey(): string {
  const bytes = new Uint8Array(12);
  if (globalThis.crypto) globalThis.crypto.getRandomValues(bytes);
  else for (const i of bytes.keys()) bytes[i] = Math.random() * 256;
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
