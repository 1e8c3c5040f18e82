// How figures and states are worded.

import type { Seen, State } from "./state";

/** span words a time in milliseconds, roughly: "12 s", "3 min", "2 h 5 min", "4 d". */
export function span(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min} min`;
  const h = Math.floor(min / 60);
  if (h < 24) return min % 60 ? `${h} h ${min % 60} min` : `${h} h`;
  return `${Math.floor(h / 24)} d`;
}

/** clock is the time of day, with seconds, and the day if it is another one than now's. */
export function clock(at: number, now: number): string {
  const then = new Date(at);
  const time = then.toLocaleTimeString("en-GB");
  if (then.toDateString() === new Date(now).toDateString()) return time;
  return `${then.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${time}`;
}

/** number words a count so that it stays short: 0.5, 12.3, 940, 12.3k, 4.5M. */
export function number(n: number): string {
  if (n < 100) return String(Math.round(n * 10) / 10);
  if (n < 10_000) return String(Math.round(n));
  if (n < 1_000_000) return `${trim(n / 1000)}k`;
  return `${trim(n / 1_000_000)}M`;
}

/** bytes words a size: 0 B, 700 B, 12.3 kB, 4.5 MB. */
export function bytes(n: number): string {
  if (n < 1000) return `${Math.round(n)} B`;
  if (n < 1_000_000) return `${trim(n / 1000)} kB`;
  if (n < 1_000_000_000) return `${trim(n / 1_000_000)} MB`;
  return `${trim(n / 1_000_000_000)} GB`;
}

/** millis words a latency; null: nothing was measured. */
export function millis(ms: number | null): string {
  if (ms === null) return "–";
  if (ms === 0) return "0 ms";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${trim(ms / 1000)} s`;
}

export function percent(part: number): string {
  return `${(100 * part).toFixed(1)} %`;
}

function trim(n: number): string {
  return n < 100 ? String(Math.round(n * 10) / 10) : String(Math.round(n));
}

export type Tone = "good" | "warn" | "bad" | "none";

/** standing says in a word or two how a node is, and in a sentence what is wrong, if anything. */
export function standing(n: Seen, state: State): { tone: Tone; word: string; detail: string } {
  const ago = (since: number) => `for ${span(state.now - since)}`;
  if (n.asked && !n.answers) {
    return { tone: "bad", word: "silent", detail: `Does not answer ${ago(n.since)}: ${n.problem}.` };
  }
  if (n.node?.draining || n.server?.why === "it drains") {
    return { tone: "warn", word: "drains", detail: "Takes nobody more; its members go elsewhere." };
  }
  if (n.server && !n.server.on && state.haproxy.answers) {
    return { tone: "bad", word: "off the ring", detail: `${capital(n.server.why)} ${ago(n.server.since)}.` };
  }
  if (n.node?.redis && !n.node.redis.ok) {
    const { since, why } = n.node.redis;
    return { tone: "bad", word: "no Redis", detail: `Has no Redis ${ago(since)}: ${why}.` };
  }
  if (n.on && n.node?.away) {
    const rooms = n.node.away === 1 ? "1 room here is" : `${n.node.away} rooms here are`;
    return {
      tone: "good",
      word: "on the ring",
      detail: `${rooms} at home elsewhere; the members are led there.`,
    };
  }
  if (!n.on) return { tone: "none", word: "not on the ring", detail: "" };
  return {
    tone: "good",
    word: "on the ring",
    detail: n.asked || state.alone ? "" : "Not in ring.nodes: only HAProxy knows of it.",
  };
}

/** sentence makes one of what the node says. */
export const sentence = (s: string): string => `${capital(s).replace(/\.$/, "")}.`;

function capital(s: string): string {
  return s.charAt(0).toUpperCase() + s.slice(1);
}

/** redisWord says how the nodes that answer are connected to Redis. */
export function redisWord(state: State): { tone: Tone; word: string } {
  const nodes = state.nodes.filter((n) => n.answers && n.node);
  const need = nodes.flatMap((n) => (n.node?.redis ? [n.node.redis] : []));
  if (!need.length) return { tone: "none", word: nodes.length ? "not used" : "unknown" };
  const without = need.filter((r) => !r.ok);
  if (!without.length) return { tone: "good", word: "heard by all" };
  const since = span(state.now - Math.min(...without.map((r) => r.since)));
  const who = without.length === need.length ? "lost" : `lost by ${without.length} of ${need.length}`;
  return { tone: "bad", word: `${who} for ${since}` };
}

export function haproxyWord(state: State): { tone: Tone; word: string } {
  const { asked, answers, since, problem } = state.haproxy;
  if (!asked) return { tone: "none", word: "not asked" };
  if (answers) return { tone: "good", word: "answers" };
  return { tone: "bad", word: `${problem}, for ${span(state.now - since)}` };
}

/** eventTone says whether an event is good news. */
export function eventTone(kind: string): Tone {
  switch (kind) {
    case "off_ring":
    case "silent":
    case "redis_lost":
    case "haproxy_lost":
      return "bad";
    case "draining":
    case "healed":
    case "split":
      return "warn";
    case "on_ring":
    case "answers":
    case "redis_back":
    case "haproxy_back":
    case "led_home":
      return "good";
    default:
      return "none";
  }
}
