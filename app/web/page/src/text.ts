// What people have written, cut into pieces that are shown as text, as links, or as names.

export type Piece =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "link"; readonly text: string; readonly href: string }
  | { readonly kind: "mention"; readonly text: string; readonly user: string };

const LINK = /https?:\/\/[^\s<>"'\p{C}]+[^\s<>"'\p{C}.,:;!?)\]]/gu;

// textOf is what a message says, or undefined if its data is no text.
export function textOf(data: unknown): string | undefined {
  if (typeof data === "string") return data;
  const text = (data as { text?: unknown } | null)?.text;
  return typeof text === "string" ? text : undefined;
}

// gist is one line of a message, for quotes and notices.
export function gist(data: unknown): string {
  const text = textOf(data) ?? JSON.stringify(data) ?? "";
  const line = text.replace(/\s+/gu, " ").trim();
  return line.length > 140 ? `${line.slice(0, 140)}…` : line;
}

// sentence makes one of what a server or the SDK says.
export const sentence = (said = ""): string => said && `${capital(said).replace(/\.$/, "")}.`;

export const capital = (said: string): string => said.charAt(0).toUpperCase() + said.slice(1);

// pieces finds links, and the names of those whom the message mentions.
export function pieces(text: string, mentions: readonly string[] = []): Piece[] {
  const out: Piece[] = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    if (!URL.canParse(match[0])) continue;
    out.push(...names(text.slice(end, match.index), mentions));
    out.push({ kind: "link", text: match[0], href: match[0] });
    end = match.index + match[0].length;
  }
  out.push(...names(text.slice(end), mentions));
  return out;
}

function names(text: string, mentions: readonly string[]): Piece[] {
  const out: Piece[] = [];
  let [from, at] = [0, text.indexOf("@")];
  for (; at >= 0; at = text.indexOf("@", at + 1)) {
    const user = mentioned(text, at, mentions);
    if (user === undefined) continue;
    if (at > from) out.push({ kind: "text", text: text.slice(from, at) });
    out.push({ kind: "mention", text: `@${user}`, user });
    from = at + 1 + user.length;
  }
  if (from < text.length) out.push({ kind: "text", text: text.slice(from) });
  return out;
}

// mentioned is the longest of the names that stands behind the @ at a place of the text.
function mentioned(text: string, at: number, users: readonly string[]): string | undefined {
  const before = text[at - 1];
  if (before !== undefined && /[\p{L}\p{N}]/u.test(before)) return undefined;
  let best: string | undefined;
  for (const user of users) {
    if (!text.startsWith(user, at + 1) || user.length <= (best?.length ?? 0)) continue;
    if (/[\p{L}\p{N}_]/u.test(text[at + 1 + user.length] ?? "")) continue;
    best = user;
  }
  return best;
}

const MENTIONS = 16;

// mentionsIn are those of the known users whom a text names, as many as a message may have.
export function mentionsIn(text: string, users: Iterable<string>): string[] {
  const found = names(text, [...users]).flatMap((piece) => (piece.kind === "mention" ? [piece.user] : []));
  return [...new Set(found)].slice(0, MENTIONS);
}

// half is the name that is being typed at the end of a text: "hi @bo" has "bo".
export const half = (text: string): string | undefined => /(?:^|[\s(])@([^\s@]*)$/u.exec(text)?.[1];
