// What stands on the page for a message, a mark or a person. Whatever people
// wrote goes in as text, never as markup, and isolated from the text around it.

import { parts } from "./wire.js";

const TOGETHER_MS = 5 * 60_000; // messages of one sender closer than this share one head

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });

// make is an element with a class and children; strings become text.
export function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

// bdi is text of unknown direction that cannot reorder its surroundings.
export const bdi = (text) => make("bdi", "", text);

// hue gives every name a colour of its own, the same for everybody.
export function hue(name) {
  let hash = 2166136261;
  for (const unit of name) hash = Math.imul(hash ^ unit.codePointAt(0), 16777619);
  return (hash >>> 0) % 360;
}

// face is the round sign of a user.
export function face(user) {
  const words = user.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const first = (word) => [...(word ?? "")][0] ?? "";
  const element = make("span", "face", first(words[0]) + first(words[1]) || "?");
  element.setAttribute("aria-hidden", "true");
  element.style.setProperty("--hue", hue(user));
  return element;
}

// render builds a message's row once; update brings it up to date.
// actions are {retry(item), discard(item)}.
export function render(item, mine, actions) {
  const row = make("div", "row");
  const text = make("span", "text");
  text.dir = "auto";
  const name = bdi(item.from);
  name.title = item.from;
  const who = make("div", "who", name, make("time"));
  who.style.setProperty("--hue", hue(item.from));
  const line = make("div", "line", text, make("span", "fate"));
  const trouble = make("div", "trouble");
  trouble.hidden = true;
  row.append(make("div", "day"), face(item.from), make("div", "what", who, line, trouble));
  row.classList.toggle("mine", mine);
  item.row = row;
  row.item = item;
  reword(item);
  update(item, actions);
  return row;
}

// reword shows what a message says by now: it may have been edited, or deleted.
export function reword(item) {
  const text = item.row.querySelector(".text");
  text.replaceChildren();
  text.classList.remove("code");
  text.classList.toggle("gone", Boolean(item.deleted));
  if (item.deleted) return text.append("deleted");
  write(text, item.data);
  if (item.edited) text.append(make("span", "edited", " edited"));
}

export function update(item, actions) {
  const { row } = item;
  const part = (name) => row.querySelector(name);
  row.classList.toggle("pending", !item.pos && !item.error);
  row.classList.toggle("failed", Boolean(item.error));
  const at = new Date(item.ts);
  const time = part("time");
  time.dateTime = at.toISOString();
  time.textContent = clock.format(at);
  part(".day").textContent = weekday.format(at);
  part(".text").title = item.pos ? `${exact.format(at)}\nposition ${item.pos}` : "";
  const fate = part(".fate");
  if (item.error) fate.textContent = "";
  else if (!item.pos) fate.textContent = "sending…";
  else fate.textContent = `${row.classList.contains("mine") ? "✓ " : ""}#${parts(item.pos)[1]}`;
  const trouble = part(".trouble");
  trouble.hidden = !item.error;
  trouble.replaceChildren();
  if (item.error) {
    const again = make("button", "", "Retry");
    const discard = make("button", "", "Discard");
    again.onclick = () => actions.retry(item);
    discard.onclick = () => actions.discard(item);
    trouble.append(`Not sent: ${item.error} `, again, discard);
  }
}

// fold lets a row that follows another of the same sender do without a head.
export function fold(row) {
  if (!row?.item || row.item.mark) return;
  let before = row.previousElementSibling;
  const marked = before?.item?.mark;
  while (before?.item?.mark) before = before.previousElementSibling;
  const [previous, item] = [before?.item, row.item];
  const newDay = !previous || new Date(previous.ts).toDateString() !== new Date(item.ts).toDateString();
  const same = previous && !marked && previous.from === item.from && item.ts - previous.ts < TOGETHER_MS;
  row.classList.toggle("new-day", newDay);
  row.classList.toggle("goes-on", Boolean(same && !newDay && !row.classList.contains("unread")));
}

// renderMark builds the row of a note; children are strings or elements.
export function renderMark(item, ...children) {
  const row = make("div", `mark ${item.kind}`, make("span", "", ...children));
  item.row = row;
  row.item = item;
  return row;
}

// person is a line of the list of who is here.
export function person({ user, sessions }, me) {
  const name = bdi(user);
  name.title = user;
  const line = make("li", "", face(user), name);
  if (user === me) line.append(make("span", "note", "you"));
  if (sessions > 1) line.append(make("span", "note", `×${sessions}`));
  return line;
}

const LINK = /https?:\/\/[^\s<>"'\p{C}]+[^\s<>"'\p{C}.,:;!?)\]]/gu;

// write puts a message's data into an element: {text} and strings as text with
// their links, everything else as JSON.
function write(element, data) {
  const text = typeof data === "string" ? data : data?.text;
  if (typeof text !== "string") {
    element.classList.add("code");
    element.textContent = JSON.stringify(data, null, 2);
    return;
  }
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    if (!URL.canParse(match[0])) continue;
    const link = make("a", "", match[0]);
    link.href = match[0];
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    element.append(text.slice(end, match.index), link);
    end = match.index + match[0].length;
  }
  element.append(text.slice(end));
}
