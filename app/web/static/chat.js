// The chat page: it ties the wire to what stands on the screen.

import { Timeline } from "./timeline.js";
import { compare, newKey, parts, Wire } from "./wire.js";
import { bdi, fold, hue, make, person, render, renderMark, reword, update } from "./rows.js";

const PAGE = 50; // messages read when entering, and per "load older"
const FILL = 256; // messages per request when reading what was missed
const FILL_REQUESTS = 4; // how many such requests follow each other unasked
const ROWS = 2000; // more rows than this are dropped from the top
const MESSAGE_BYTES = 15_000; // a frame may have 16 KiB
const KEPT_MS = 5 * 60_000; // for how long the server knows a key

const ROOM = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
const USER = /^[^\p{C}\p{Z}]+$/u; // and 128 bytes at the most

const $ = (id) => document.getElementById(id);
const bytes = (text) => new TextEncoder().encode(text).length;
const log = $("log");
const scroller = $("scroller");
const say = $("say");

let wire, timeline;
let shard = ""; // the node of the last hello
let unread = 0;
let typists = new Map(); // user → the timer that forgets it
let typedAt = 0;
let countdown, presenceTimer;

// Storage may be forbidden; the page then forgets.
const storage = (area) => ({
  get: (name) => {
    try {
      return window[area].getItem(`chatring.${name}`);
    } catch {
      return null;
    }
  },
  set: (name, value) => {
    try {
      window[area].setItem(`chatring.${name}`, value);
    } catch {
      /* forgotten */
    }
  },
});
const tab = storage("sessionStorage");
const browser = storage("localStorage");

// ---- Entering a room

// randomName is a friendly name; each tab draws its own, so that two tabs are two people.
function randomName() {
  const pick = (words) => words.split(" ")[Math.floor(Math.random() * words.split(" ").length)];
  return `${pick("brisk calm clever cosy early fair gentle happy jolly keen kind lively lucky merry mild nimble proud quick quiet sunny swift tidy warm witty")}-${pick("badger beaver crane dolphin falcon finch fox hare heron ibex kestrel lark lynx marten otter owl panda puffin robin seal stork swan tern wren")}`;
}

// fromAddress is what a shared link says: #room, ?room=room, #room=…&token=….
function fromAddress() {
  const hash = decodeURIComponent(location.hash.slice(1));
  const named = new URLSearchParams(hash.includes("=") ? hash : "");
  const room = named.get("room") ?? (hash.includes("=") ? null : hash) ?? "";
  return { room: room || new URLSearchParams(location.search).get("room") || "", token: named.get("token") ?? "" };
}

// subject is the user that a token names. Only the server checks it.
function subject(token) {
  try {
    const payload = Uint8Array.from(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(payload)).sub;
  } catch {
    return undefined;
  }
}

function enter({ room, name, token }) {
  wire?.close();
  timeline = new Timeline();
  log.replaceChildren();
  clearTyping();
  for (const element of document.querySelectorAll("#here, .here")) element.textContent = room;
  $("users").replaceChildren();
  $("people-total").textContent = $("people-note").textContent = $("position").textContent = "";
  $("people-count").textContent = "0";
  $("served").hidden = $("older").hidden = $("beginning").hidden = $("empty").hidden = true;
  shard = "";
  seen();
  tab.set("name", name);
  history.replaceState(null, "", `${location.pathname}#${room}`);
  document.body.classList.remove("people-open", "needs-token");

  const session = new Wire({ room, user: subject(token) ?? name, token }, (event, detail) => session === wire && hear[event]?.(detail));
  wire = session;
  restore();
  wire.connect();
}

$("entry").onsubmit = (event) => {
  event.preventDefault();
  const room = $("room").value.trim().replace(/^#/, "").replace(/\s+/g, "-");
  const name = $("name").value.trim().replace(/\s+/g, "-");
  if (!ROOM.test(room)) return complain($("room"), "Letters, digits, and _ . - after the first; 64 at the most.");
  if (!USER.test(name) || bytes(name) > 128) return complain($("name"), "Characters that can be seen, 128 bytes at the most.");
  if (name !== tab.get("name")) browser.set("name", name);
  $("room").value = room;
  $("name").value = name;
  $("token-box").open = false;
  $("token-why").textContent = "";
  $("entry").classList.remove("changed");
  enter({ room, name, token: $("token").value.trim() });
  say.focus();
};

$("entry").oninput = () => $("entry").classList.add("changed");

function complain(field, message) {
  field.setCustomValidity(message);
  field.reportValidity();
  field.oninput = () => field.setCustomValidity("");
}

window.addEventListener("hashchange", () => {
  const { room, token } = fromAddress();
  if (token) $("token").value = token;
  if (!room || (room === wire.room && !token)) return;
  $("room").value = room;
  $("entry").requestSubmit();
});

// ---- What the wire tells

const hear = {
  state(state) {
    clearInterval(countdown);
    $("dot").className = `dot ${state.name}`;
    const words = { connecting: "Connecting", joined: "Connected", waiting: "Reconnecting", closed: "Not connected" };
    if ($("state").textContent !== words[state.name]) $("state").textContent = words[state.name];
    const notice = $("notice");
    notice.hidden = state.name === "joined" || (state.name === "connecting" && notice.hidden) || (state.final && !state.reason);
    notice.classList.toggle("final", Boolean(state.final));
    $("retry").hidden = state.name === "connecting";
    $("retry").textContent = state.final ? "Connect again" : "Retry now";
    if (state.name === "connecting") $("notice-text").textContent = "Connecting…";
    if (state.final) $("notice-text").textContent = state.reason ?? "";
    $("countdown").textContent = "";
    if (state.name === "waiting") {
      $("notice-text").textContent = `${state.reason ?? "The connection is gone"}. What you write is kept and sent later.`;
      const tick = () => {
        const left = Math.max(0, Math.ceil((state.retryAt - Date.now()) / 1000));
        $("countdown").textContent = `Next try in ${left} s`;
      };
      tick();
      countdown = setInterval(tick, 250);
    }
    if ([401, 4501, 4502, "bad_token"].includes(state.code)) {
      document.body.classList.add("needs-token");
      $("token-box").open = true;
      $("token-why").textContent = state.reason;
      $("token").focus();
    }
    if (state.name !== "joined") clearTyping();
  },

  hello(push) {
    const node = $("node");
    node.textContent = push.shard;
    node.parentElement.style.setProperty("--hue", hue(push.shard));
    node.parentElement.title = `This node holds the room's members. Session ${push.session}`;
    $("served").hidden = false;
    if (shard && shard !== push.shard) mark("moved", wire.since || "0-0", `now served by node ${push.shard}, before by ${shard}`);
    shard = push.shard;
    if (wire.token) $("name").value = push.user;
  },

  async joined(push) {
    askPresence(0);
    showPosition(push.pos);
    if (!timeline.oldest) return readNewest();
    if (push.recovered || push.since === push.pos) return;
    const hole = { after: push.since, upTo: push.pos };
    hole.item = mark("hole", push.since, "Messages are missing here. ", button("Load them", () => fill(hole)));
    await fill(hole);
  },

  message(push) {
    const here = atEnd();
    showPosition(push.pos);
    forgetTypist(push.from);
    const item = show(push);
    $("empty").hidden = true;
    trim(here);
    if (!item || push.from === wire.user) return here && toEnd();
    if (document.hidden || !here) {
      if (!unread) {
        item.row.classList.add("unread");
        fold(item.row);
      }
      unread++;
      showUnread();
    }
    if (here) toEnd();
  },

  signal({ from, data }) {
    if (!data?.typing) return forgetTypist(from);
    clearTimeout(typists.get(from));
    typists.set(from, setTimeout(() => forgetTypist(from), 5000));
    showTyping();
  },

  member({ user, event }) {
    if (event === "leave") forgetTypist(user);
    askPresence();
  },

  gap({ after, before }) {
    const [[ae, ao], [be, bo]] = [parts(after), parts(before)];
    mark("gap", after, ae === be ? `${bo - ao - 1n} messages were lost here: they were no longer kept` : "messages were lost here: they were no longer kept");
  },

  reset({ lost }) {
    mark("reset", lost, "the log went back and goes on from here; some messages above may not be kept");
  },

  drain() {
    mark("moved", wire.since || "0-0", `moving from node ${shard} to another one`);
  },

  published({ key, pos }) {
    const item = timeline.find(wire.user, key);
    if (item) settle(item, () => timeline.settle(item, pos));
    keep();
  },

  refused({ key, error }) {
    const item = timeline.find(wire.user, key);
    if (item) {
      item.error = error.message;
      update(item, actions);
      say.focus();
    }
    keep();
  },
};

// ---- Messages

// show puts a message where it belongs; it returns its item when it is new here. What
// only changes another one is shown there, and what describes the room nowhere.
function show(message) {
  const { edits, deletes, describes } = message.about ?? {};
  if (describes) return undefined;
  if (edits || deletes) {
    const item = timeline.find((edits ?? deletes).from, (edits ?? deletes).key);
    if (item?.row && !item.deleted) {
      Object.assign(item, deletes || message.deleted ? { deleted: true } : { edited: true, data: message.data });
      reword(item);
    }
    return undefined;
  }
  const { item, added } = timeline.add(message);
  if (!added) {
    settle(item, () => {});
    return undefined;
  }
  place(render(item, message.from === wire.user, actions));
  return item;
}

function place(row) {
  const next = timeline.after(row.item)?.row;
  if (!row.isConnected || row.nextElementSibling !== (next ?? null)) log.insertBefore(row, next ?? null);
  fold(row);
  fold(row.nextElementSibling);
}

// settle shows what a draft has learnt, and moves its row when it has to.
function settle(item, learn) {
  learn();
  if (!item.row) return;
  const follower = item.row.nextElementSibling;
  item.error = undefined;
  update(item, actions);
  if (item.pos) place(item.row);
  else item.row.remove();
  fold(follower);
}

function mark(kind, pos, ...children) {
  const here = atEnd();
  const item = timeline.mark({ kind, pos });
  place(renderMark(item, ...children));
  if (here) toEnd();
  return item;
}

function unmark(item) {
  const next = item.row.nextElementSibling;
  timeline.drop(item);
  item.row.remove();
  fold(next);
}

// quietly lets a page of old messages in without a screen reader reading all of it.
async function quietly(work) {
  log.setAttribute("aria-live", "off");
  await work();
  setTimeout(() => log.setAttribute("aria-live", "polite"), 500);
}

async function readNewest() {
  showOlder(true);
  await readOlder();
  toEnd();
}

async function readOlder() {
  $("older").disabled = true;
  try {
    const page = await wire.history({ before: timeline.oldest, limit: PAGE });
    const fromEnd = scroller.scrollHeight - scroller.scrollTop;
    await quietly(() => page.messages.forEach(show));
    showOlder(page.more);
    scroller.scrollTop = scroller.scrollHeight - fromEnd;
  } finally {
    $("older").disabled = false;
  }
}

// fill reads what a hole lacks. What the log no longer has becomes a gap.
async function fill(hole) {
  for (let i = 0; i < FILL_REQUESTS; i++) {
    const here = atEnd();
    const page = await wire.history({ after: hole.after, limit: FILL });
    const wanted = page.messages.filter((message) => compare(message.pos, hole.upTo) <= 0);
    const next = wanted[0]?.pos ?? hole.upTo;
    const [[ae, ao], [be, bo]] = [parts(hole.after), parts(next)];
    if (ae === be && bo > ao + 1n) hear.gap({ after: hole.after, before: next });
    await quietly(() => wanted.forEach(show));
    unmark(hole.item);
    if (here) toEnd();
    if (!page.more || wanted.length < page.messages.length || !wanted.length) return;
    hole.after = wanted.at(-1).pos;
    if (compare(hole.after, hole.upTo) >= 0) return;
    hole.item = mark("hole", hole.after, "More messages are missing here. ", button("Load them", () => fill(hole)));
  }
}

function button(text, action) {
  const element = make("button", "quiet", text);
  element.type = "button";
  element.onclick = () => {
    element.disabled = true;
    Promise.resolve(action()).catch(() => (element.disabled = false));
  };
  return element;
}

// trim bounds the page: the oldest rows go while the reader is at the end.
function trim(here) {
  if (!here || timeline.items.length <= ROWS) return;
  for (const item of timeline.items.slice(0, ROWS / 4)) {
    timeline.drop(item);
    item.row.remove();
  }
  showOlder(true);
  fold(log.firstElementChild);
}

function showOlder(exist) {
  $("older").hidden = !exist;
  const messages = timeline.items.length + timeline.drafts.length > 0;
  $("beginning").hidden = exist || !messages;
  $("empty").hidden = exist || messages;
}

function showPosition(pos) {
  $("position").textContent = pos === "0-0" ? "empty log" : `position ${pos}`;
}

// ---- Saying something

const actions = {
  retry(item) {
    item.error = undefined;
    update(item, actions);
    wire.publish(item.data, item.key);
    keep();
  },
  discard(item) {
    const next = item.row.nextElementSibling;
    timeline.drop(item);
    item.row.remove();
    fold(next);
    say.focus();
  },
};

$("composer").onsubmit = (event) => {
  event.preventDefault();
  const text = say.value.trim();
  if (!text) return;
  const data = { text };
  if (bytes(JSON.stringify(data)) > MESSAGE_BYTES) return complain(say, "This is too long for one message.");
  draft({ key: newKey(), data, ts: Date.now() });
  say.value = "";
  grow();
  typedAt = 0;
  for (const row of log.querySelectorAll(".unread")) {
    row.classList.remove("unread");
    fold(row);
  }
  toEnd();
};

function draft({ key, data, ts }) {
  const item = timeline.draft({ from: wire.user, key, data, ts });
  place(render(item, true, actions));
  $("empty").hidden = true;
  wire.publish(data, key);
  keep();
  return item;
}

// keep remembers over a reload what was not answered yet.
function keep() {
  const drafts = wire.outbox.map(({ key, data }) => ({ key, data, ts: timeline.find(wire.user, key)?.ts ?? Date.now() }));
  tab.set("outbox", JSON.stringify({ room: wire.room, user: wire.user, drafts }));
}

function restore() {
  let kept;
  try {
    kept = JSON.parse(tab.get("outbox"));
  } catch {
    /* nothing kept */
  }
  if (kept?.room !== wire.room || kept.user !== wire.user) return;
  for (const one of kept.drafts) {
    const item = draft(one);
    if (Date.now() - one.ts < KEPT_MS) continue;
    // The server no longer knows a key this old: only its author can tell
    // whether the message has to be said again.
    wire.forget(one.key);
    item.error = "this page was closed before the answer came.";
    update(item, actions);
  }
  keep();
}

say.onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("composer").requestSubmit();
};

say.oninput = () => {
  grow();
  say.setCustomValidity("");
  if (!say.value || Date.now() - typedAt < 2500) return;
  typedAt = Date.now();
  wire.signal({ typing: true }).catch(() => {});
};

function grow() {
  say.style.height = "auto";
  say.style.height = `${say.scrollHeight + 2}px`;
}

// ---- Who types, who is here

function forgetTypist(user) {
  if (!typists.has(user)) return;
  clearTimeout(typists.get(user));
  typists.delete(user);
  showTyping();
}

function clearTyping() {
  for (const timer of typists.values()) clearTimeout(timer);
  typists.clear();
  showTyping();
}

function showTyping() {
  const users = [...typists.keys()];
  const line = $("typing");
  if (!users.length) line.replaceChildren();
  else if (users.length > 2) line.textContent = `${users.length} people are writing…`;
  else line.replaceChildren(bdi(users[0]), ...(users[1] ? [" and ", bdi(users[1])] : []), users[1] ? " are writing…" : " is writing…");
}

// askPresence asks soon who is here: after a random moment, because a push
// reaches all members at once.
function askPresence(delay = 150 + Math.random() * 600) {
  clearTimeout(presenceTimer);
  presenceTimer = setTimeout(async () => {
    const asked = wire;
    try {
      const answer = await asked.presence();
      if (asked === wire) showPresence(answer);
    } catch {
      /* asked again when joined, or in a minute */
    }
    clearTimeout(presenceTimer);
    presenceTimer = setTimeout(() => askPresence(), 60_000);
  }, delay);
}

function showPresence({ users, total, watchers, complete }) {
  const me = (a) => a.user === wire.user;
  users.sort((a, b) => me(b) - me(a) || a.user.localeCompare(b.user));
  $("users").replaceChildren(...users.map((user) => person(user, wire.user)));
  $("people-total").textContent = $("people-count").textContent = total;
  const notes = [];
  if (total > users.length) notes.push(`and ${total - users.length} more`);
  if (watchers) notes.push(watchers === 1 ? "1 watcher" : `${watchers} watchers`);
  if (!complete) notes.push("a node did not answer: this list may lack people");
  $("people-note").textContent = notes.join(" · ");
}

$("show-people").onclick = () => {
  const open = document.body.classList.toggle("people-open");
  $("show-people").setAttribute("aria-expanded", open);
};

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  document.body.classList.remove("people-open");
  $("show-people").setAttribute("aria-expanded", false);
  $("token-box").open = false;
});

// ---- Reading

const atEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;

function toEnd() {
  scroller.scrollTop = scroller.scrollHeight;
}

function seen() {
  unread = 0;
  showUnread();
}

function showUnread() {
  $("jump").hidden = !unread || atEnd();
  $("jump").textContent = `↓ ${unread} new`;
  document.title = `${unread ? `(${unread}) ` : ""}#${$("here").textContent} · chatring`;
}

scroller.onscroll = () => {
  if (unread && !document.hidden && atEnd()) seen();
};
$("jump").onclick = () => {
  toEnd();
  seen();
  say.focus();
};
$("older").onclick = () => readOlder().catch(() => {});
$("retry").onclick = () => wire.connect();

let pinned = true;
scroller.addEventListener("scroll", () => (pinned = atEnd()), { passive: true });
new ResizeObserver(() => pinned && toEnd()).observe(scroller);

$("share").onclick = async () => {
  const link = `${location.origin}${location.pathname}#${wire.room}`;
  try {
    await navigator.clipboard.writeText(link);
    $("share").textContent = "Link copied";
  } catch {
    $("share").textContent = link; // no clipboard without HTTPS: here it is to select
  }
  setTimeout(() => ($("share").textContent = "Copy link"), 4000);
};

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  wire.nudge();
  if (atEnd()) seen();
});
window.addEventListener("online", () => wire.nudge());
window.addEventListener("offline", () => wire.nudge());

// ---- Begin

const asked = fromAddress();
$("room").value = ROOM.test(asked.room) ? asked.room : "lobby";
$("name").value = tab.get("name") ?? browser.get("name") ?? randomName();
$("token").value = asked.token;
enter({ room: $("room").value, name: $("name").value, token: asked.token });
say.focus();
