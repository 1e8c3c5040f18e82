// The page's address names the room: #lobby, ?room=lobby, or #room=lobby&token=….

import { isRoom } from "./names";

export interface Address {
  readonly room: string;
  readonly token: string;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

export function parse({ hash, search }: { hash: string; search: string }): Address {
  const raw = hash.slice(1);
  const named = raw.startsWith("room=") || raw.startsWith("token=") ? new URLSearchParams(raw) : null;
  const room = (named ? named.get("room") : decode(raw)) || new URLSearchParams(search).get("room") || "";
  const token = named?.get("token") ?? "";
  return { room: isRoom(room) ? room : "", token };
}

// hashOf is the part of the address that leads to a room.
export const hashOf = (room: string): string =>
  `#${encodeURIComponent(room).replaceAll("%40", "@").replaceAll("%2B", "+").replaceAll("%3D", "=")}`;
