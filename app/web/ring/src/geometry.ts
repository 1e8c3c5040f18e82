// The ring as shapes. Places are parts of the circle, 0 to 1, clockwise from the top.

/** at returns the point of a place at a distance from the middle. */
export function at(place: number, radius: number): [x: number, y: number] {
  const angle = 2 * Math.PI * place;
  return [radius * Math.sin(angle), -radius * Math.cos(angle)];
}

/** arc is a piece of a band between two radii, as the d of an SVG path. */
export function arc(from: number, to: number, inner: number, outer: number): string {
  if (to - from >= 1) return arc(0, 0.5, inner, outer) + arc(0.5, 1 - 1e-6, inner, outer);
  const large = to - from > 0.5 ? 1 : 0;
  const p = (place: number, radius: number) =>
    at(place, radius)
      .map((n) => n.toFixed(2))
      .join(" ");
  return (
    `M${p(from, outer)}A${outer} ${outer} 0 ${large} 1 ${p(to, outer)}` +
    `L${p(to, inner)}A${inner} ${inner} 0 ${large} 0 ${p(from, inner)}Z`
  );
}

/** Stretch is a part of a band that has one digit. */
export interface Stretch {
  digit: string;
  from: number;
  to: number;
}

/** stretches joins the neighbouring pieces of a band that have the same digit. */
export function stretches(band: string): Stretch[] {
  const found: Stretch[] = [];
  for (let i = 0; i < band.length; i++) {
    const digit = band.charAt(i);
    const last = found[found.length - 1];
    if (last?.digit === digit) last.to = (i + 1) / band.length;
    else found.push({ digit, from: i / band.length, to: (i + 1) / band.length });
  }
  return found;
}

const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";

/** bands makes one path of all pieces of each node, by the node's index. */
export function bands(band: string, inner: number, outer: number): Map<number, string> {
  const paths = new Map<number, string>();
  for (const s of stretches(band)) {
    const node = digits.indexOf(s.digit);
    paths.set(node, (paths.get(node) ?? "") + arc(s.from, s.to, inner, outer));
  }
  return paths;
}

/** moved is the pieces of one band that another one has not, and blanks for the rest. */
export function moved(full: string, now: string): string {
  return [...full].map((digit, i) => (digit === now.charAt(i) ? " " : digit)).join("");
}

/** shares lays parts of the circle side by side. */
export function shares(parts: number[]): { from: number; to: number }[] {
  let sum = 0;
  return parts.map((part) => {
    const from = sum;
    sum += part;
    return { from, to: sum };
  });
}

/** place turns a place of 2^32 into a part of the circle. */
export const place = (of: number) => of / 2 ** 32;
