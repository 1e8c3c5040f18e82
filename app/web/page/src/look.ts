// How people, nodes and moments look: the same on every screen.

// hue gives every name a colour of its own.
export function hue(name: string): number {
  let hash = 2166136261;
  for (const unit of name) hash = Math.imul(hash ^ (unit.codePointAt(0) ?? 0), 16777619);
  return (hash >>> 0) % 360;
}

// initials stand on a user's round sign.
export function initials(user: string): string {
  const words = user.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const first = (word = "") => [...word][0] ?? "";
  return first(words[0]) + first(words[1]) || "?";
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

export const timeOf = (ts: number): string => clock.format(ts);

// bareTime is the time of day without "PM", for where there is little room.
export const bareTime = (ts: number): string =>
  clock
    .formatToParts(ts)
    .map(({ type, value }) => (type === "dayPeriod" ? "" : value))
    .join("")
    .trim();

export const exactly = (ts: number): string => exact.format(ts);

const DAY = 86_400_000;

export function dayOf(ts: number, now = Date.now()): string {
  const same = (at: number) => new Date(at).toDateString() === new Date(ts).toDateString();
  if (same(now)) return "Today";
  if (same(now - DAY)) return "Yesterday";
  return weekday.format(ts);
}

// shortly is a moment in few letters: the time of today, else the day.
export const shortly = (ts: number, now = Date.now()): string =>
  new Date(ts).toDateString() === new Date(now).toDateString() ? timeOf(ts) : date.format(ts);

// ago is how long something is past, roughly.
export function ago(ts: number, now = Date.now()): string {
  const minutes = Math.max(0, Math.round((now - ts) / 60_000));
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  if (minutes < 24 * 60) return `${Math.round(minutes / 60)} h ago`;
  return date.format(ts);
}

// many is a count with its noun.
export const many = (n: number, one: string, more = `${one}s`): string => `${n} ${n === 1 ? one : more}`;
