// The wire of docs/protocol.md, version 1: one room over one socket that comes
// back by itself. It does not know the page: it takes commands, and tells a
// listener what it hears.

const OPEN_MS = 10_000; // how long a handshake may take
const REPLY_MS = 8_000; // how long a reply may take before the socket counts as broken
const STEADY_MS = 10_000; // how long a connection must last to forget failed attempts
const MIN_DELAY_MS = 500;
const MAX_DELAY_MS = 20_000;

// comesBack is the rule of the close codes. 1001 to 1006 and 1011 are what a
// broken connection, a proxy or a fault of one node leaves behind.
export function comesBack(code) {
  return [1001, 1005, 1006, 1011, 1012, 1013].includes(code) || (code >= 4000 && code < 4500);
}

// backoff is the delay before an attempt, in milliseconds: full jitter between
// half a second and a bound that doubles up to 20 s.
export function backoff(attempt, random = Math.random()) {
  const bound = Math.min(MAX_DELAY_MS, MIN_DELAY_MS * 2 ** Math.min(attempt, 10));
  return Math.min(MAX_DELAY_MS, MIN_DELAY_MS + random * bound);
}

// compare orders two positions: by epoch, then by offset.
export function compare(a, b) {
  if (a === b) return 0;
  const [[ae, ao], [be, bo]] = [parts(a), parts(b)];
  if (ae !== be) return ae < be ? -1 : 1;
  return ao < bo ? -1 : ao > bo ? 1 : 0;
}

// parts are the epoch and the offset of a position.
export function parts(position) {
  return position.split("-").map(BigInt);
}

// newKey is a key that no other publish has. It needs no secure context, as
// crypto.randomUUID would.
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

// A WireError is a refused or unanswered command. broken: the connection went
// before the answer, so nobody knows yet. temporary: worth sending again.
export class WireError extends Error {
  constructor({ code, message, temporary = false, retry_after_ms = 0 }) {
    super(message || code);
    this.code = code;
    this.temporary = temporary;
    this.retryAfter = retry_after_ms;
  }
  get broken() {
    return this.code === "broken";
  }
}

const broken = () => new WireError({ code: "broken", message: "the connection broke" });

// A Wire is a session in one room.
//
// tell(event, detail) hears, besides every push under its own name:
//   state      {name, retryAt, final, code, reason}; name is connecting, joined, waiting or closed
//   published  {key, pos}: the log has it
//   refused    {key, error}: it will not be sent again by itself
// What tell returns for "joined" is awaited before unanswered messages are
// sent again, so that the page can read first what it missed.
export class Wire {
  #tell;
  #socket = null;
  #opened = false;
  #stopped = true;
  #attempt = 0;
  #returnAt = 0; // the moment drawn from a drain's span
  #caughtUp = false;
  #flushing = false;
  #reached = null; // {pos, done}: the last missed message, while it is awaited
  #waiting = new Map(); // command id → {resolve, reject, timer}
  #nextID = 1;
  #quietMS = 25_000;
  #timers = {}; // retry, opening, steady, quiet

  constructor({ room, user, token }, tell) {
    this.room = room;
    this.user = user;
    this.token = token;
    this.since = ""; // the last position heard in order
    this.outbox = []; // {key, data} without an answer, oldest first
    this.state = { name: "closed" };
    this.#tell = tell;
  }

  // connect opens the socket, now. It also cuts a waiting time short.
  connect() {
    this.#stopped = false;
    this.#clear("retry");
    this.#detach();
    this.#set({ name: "connecting" });
    this.#opened = false;
    let socket;
    try {
      socket = new WebSocket(this.#address(location.protocol === "https:" ? "wss:" : "ws:"), this.#protocols());
    } catch {
      this.#stop("bad_token", "This cannot be a token.");
      return;
    }
    this.#socket = socket;
    this.#timers.opening = setTimeout(() => this.#gone(1006), OPEN_MS);
    socket.onopen = () => {
      this.#opened = true;
    };
    socket.onmessage = (event) => socket === this.#socket && this.#hear(event.data);
    socket.onclose = (event) => socket === this.#socket && this.#gone(event.code, event.reason);
  }

  // close ends the session for good.
  close() {
    this.#stopped = true;
    this.#clear("retry");
    this.#detach();
    this.#set({ name: "closed", final: true });
  }

  // nudge is for moments when the network may have changed: it tries again at
  // once, or asks whether the connection still lives.
  nudge() {
    if (this.state.name === "waiting") this.connect();
    else if (this.state.name === "joined") this.#probe();
  }

  // publish says data in the room. It is sent under the same key until the log
  // has it or the server refuses it for good, over any number of connections.
  publish(data, key) {
    this.outbox.push({ key, data });
    this.#flush();
  }

  // forget takes a message back that was not answered yet.
  forget(key) {
    this.outbox = this.outbox.filter((draft) => draft.key !== key);
  }

  history(options) {
    return this.#command("history", options);
  }

  presence() {
    return this.#command("presence");
  }

  signal(data) {
    return this.#command("signal", { data });
  }

  #address(scheme) {
    const url = new URL(`/ws/chat/${encodeURIComponent(this.room)}`, location.href);
    url.protocol = scheme;
    url.searchParams.set("members", "true");
    if (this.since) url.searchParams.set("since", this.since);
    if (!this.token) url.searchParams.set("user", this.user);
    return url;
  }

  #protocols() {
    return this.token ? ["chatring.v1", `bearer.${this.token}`] : ["chatring.v1"];
  }

  #command(cmd, fields = {}) {
    const socket = this.#socket;
    if (socket?.readyState !== WebSocket.OPEN) return Promise.reject(broken());
    const id = this.#nextID++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#gone(1006), REPLY_MS);
      this.#waiting.set(id, { resolve, reject, timer });
      socket.send(JSON.stringify({ id, cmd, room: this.room, ...fields }));
    });
  }

  #hear(text) {
    this.#quietAgain();
    const frame = JSON.parse(text);
    if (frame.push) this.#push(frame);
    else if (this.#waiting.has(frame.id)) {
      const { resolve, reject, timer } = this.#waiting.get(frame.id);
      this.#waiting.delete(frame.id);
      clearTimeout(timer);
      if (frame.error) reject(new WireError(frame.error));
      else resolve(frame.ok);
    }
  }

  #push(push) {
    switch (push.push) {
      case "hello":
        this.#clear("opening");
        this.user = push.user;
        if (push.ping_s > 0) this.#quietMS = push.ping_s * 1000;
        break;
      case "joined":
        this.#joined(push);
        return;
      case "message":
        this.since = push.pos;
        this.#settle(push);
        break;
      case "drain": {
        const [least, most] = push.reconnect_ms;
        const delay = least + Math.random() * (most - least);
        this.#returnAt = Date.now() + delay;
        this.#timers.retry = setTimeout(() => this.connect(), delay);
        break;
      }
    }
    this.#tell(push.push, push);
    if (this.#reached && (push.push === "gap" || compare(this.since, this.#reached.pos) >= 0)) this.#reached.done();
  }

  async #joined(push) {
    const socket = this.#socket;
    const since = this.since;
    this.#returnAt = 0;
    this.#timers.steady = setTimeout(() => (this.#attempt = 0), STEADY_MS);
    this.#set({ name: "joined" });
    const missed = push.recovered && push.missed > 0;
    const heard = missed && new Promise((done) => (this.#reached = { pos: push.pos, done }));
    if (!push.recovered) this.since = push.pos;
    try {
      await this.#tell("joined", { ...push, since });
      await heard;
    } catch (error) {
      if (!(error instanceof WireError)) throw error; // what was not read stays marked on the page
    } finally {
      if (socket === this.#socket) {
        this.#reached = null;
        this.#caughtUp = true;
        this.#flush();
      }
    }
  }

  // settle forgets an unanswered message that has just been heard.
  #settle({ from, key, pos }) {
    if (from !== this.user || this.#flushing) return;
    if (!this.outbox.some((draft) => draft.key === key)) return;
    this.forget(key);
    this.#tell("published", { key, pos });
  }

  // flush sends what waits, one message at a time: a sender's order holds even
  // when one of them has to be sent again.
  async #flush() {
    if (this.#flushing) return;
    this.#flushing = true;
    while (this.#caughtUp && this.outbox.length > 0) {
      const { key, data } = this.outbox[0];
      try {
        const { pos } = await this.#command("publish", { key, data });
        this.forget(key);
        this.#tell("published", { key, pos });
      } catch (error) {
        if (error.broken) break;
        if (error.temporary) {
          await new Promise((done) => setTimeout(done, (error.retryAfter || 1000) * (1 + Math.random() / 2)));
          continue;
        }
        this.forget(key);
        this.#tell("refused", { key, error });
      }
    }
    this.#flushing = false;
  }

  // Browsers answer pings without a word to the page. A connection that has
  // been quiet for a ping's time is therefore asked something small.
  #quietAgain() {
    this.#clear("quiet");
    this.#timers.quiet = setTimeout(() => this.#probe(), this.#quietMS);
  }

  #probe() {
    this.history({ limit: 1 }).catch(() => {});
  }

  // gone takes the connection as lost, and arranges the next one.
  #gone(code, reason = "") {
    const refused = !this.#opened;
    this.#detach();
    if (this.#stopped) return;
    if (!comesBack(code)) {
      this.#stop(code, CLOSED[code] ?? (reason ? `The server closed the connection: ${reason}` : "The server closed the connection."));
      return;
    }
    const drained = this.#returnAt - Date.now();
    this.#returnAt = 0;
    this.#wait(drained > 0 ? drained : backoff(this.#attempt++), code);
    if (refused) this.#askWhy();
  }

  #wait(delay, code, reason) {
    this.#clear("retry");
    this.#timers.retry = setTimeout(() => this.connect(), delay);
    this.#set({ name: "waiting", retryAt: Date.now() + delay, code, reason });
  }

  #stop(code, reason) {
    this.#stopped = true;
    this.#clear("retry");
    this.#set({ name: "closed", final: true, code, reason });
  }

  // A browser does not say with which status a handshake was refused. The same
  // address without an upgrade does.
  async #askWhy() {
    const headers = this.token ? { Authorization: `Bearer ${this.token}` } : {};
    let status, error, retryAfter;
    try {
      const answer = await fetch(this.#address(location.protocol), { headers, signal: AbortSignal.timeout(3000) });
      status = answer.status;
      retryAfter = Number(answer.headers.get("Retry-After")) * 1000;
      error = (await answer.json()).error;
    } catch {
      return; // nobody answers: the next attempt comes anyway
    }
    if (this.state.name !== "waiting") return;
    if (error && [400, 401, 403].includes(status)) this.#stop(status, error.message);
    else if ([429, 503].includes(status)) this.#wait((retryAfter || 1000) + backoff(this.#attempt), status, "The server is busy");
  }

  // detach leaves the socket, and lets every open question fail.
  #detach() {
    for (const name of ["opening", "steady", "quiet"]) this.#clear(name);
    const socket = this.#socket;
    this.#socket = null;
    this.#caughtUp = false;
    this.#reached = null;
    socket?.close();
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject, timer } of waiting) {
      clearTimeout(timer);
      reject(broken());
    }
  }

  #clear(name) {
    clearTimeout(this.#timers[name]);
  }

  #set(state) {
    this.state = state;
    this.#tell("state", state);
  }
}

const CLOSED = {
  1008: "The server closed the connection: too much at once.",
  1009: "The server closed the connection: a message was too long.",
  4501: "The token has expired.",
  4502: "You have logged out everywhere.",
};
