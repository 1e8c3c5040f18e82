// What both k6 scenarios share: one member of a room on k6/websockets, the
// metrics, and the summary. The member speaks docs/protocol.md: it publishes
// with keys and sends them again until they are answered, and comes back by
// position, so that a node may die meanwhile.

import { WebSocket } from 'k6/websockets';
import { Counter, Rate, Trend } from 'k6/metrics';
import { hmac } from 'k6/crypto';
import encoding from 'k6/encoding';

export const BASE_URL = __ENV.BASE_URL || 'http://127.0.0.1:8080';
export const WS_URL = __ENV.WS_URL || BASE_URL.replace(/^http/, 'ws');

// number reads a knob from the environment.
export function number(name, otherwise) {
  const n = Number(__ENV[name] || otherwise);
  if (!Number.isFinite(n)) throw new Error(`${name} is no number: ${__ENV[name]}`);
  return n;
}

// seconds reads a duration such as 30s or 2m.
export function seconds(name, otherwise) {
  const m = /^(\d+)(s|m)$/.exec(__ENV[name] || otherwise);
  if (!m) throw new Error(`${name} is no duration such as 30s or 2m: ${__ENV[name]}`);
  return Number(m[1]) * (m[2] === 'm' ? 60 : 1);
}

export const joinOK = new Rate('chat_join_ok'); // members that joined in time
export const joinTime = new Trend('chat_join_time', true); // dial → joined
export const acked = new Counter('chat_acked');
export const delivered = new Counter('chat_delivered'); // messages of this run, per member
export const lost = new Counter('chat_lost'); // acknowledged, not delivered; per member
export const unanswered = new Counter('chat_unanswered'); // never acknowledged
export const doubled = new Counter('chat_dup');
export const disordered = new Counter('chat_order_violations');
export const gaps = new Counter('chat_gaps'); // declared
export const resets = new Counter('chat_resets'); // declared
export const reconnects = new Counter('chat_reconnects');
export const deaf = new Counter('chat_deaf'); // sockets whose first frames k6 dropped
export const closes = new Counter('chat_terminal_closes'); // codes after which one does not come back
export const failures = new Counter('chat_errors'); // error replies that are not temporary
export const ackTime = new Trend('chat_ack_latency', true); // first sent → acknowledged
export const e2eTime = new Trend('chat_e2e_latency', true); // first sent → own echo, one clock

// parse makes [epoch, offset] of a position.
function parse(pos) {
  const [epoch, offset] = pos.split('-');
  return [BigInt(epoch), BigInt(offset)];
}

function before(p, q) {
  return p[0] < q[0] || (p[0] === q[0] && p[1] < q[1]);
}

// token signs what the server asks for with auth.mode=jwt, if there is a secret.
function token(user) {
  const part = (o) => encoding.b64encode(JSON.stringify(o), 'rawurl');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + 3600 })}`;
  return `${text}.${hmac('sha256', __ENV.TOKEN_SECRET, text, 'base64rawurl')}`;
}

// A Member is one user's session in one room. order collects what the member
// heard, as keys, so that members of one VU can be compared.
export class Member {
  constructor(room, user) {
    this.room = room;
    this.user = user;
    this.heard = new Map(); // key → position
    this.order = [];
    this.pos = ''; // the last position
    this.first = ''; // where the first join stood
    this.shard = '';
    this.pending = new Map(); // key → {data, at}
    this.acked = [];
    this.asked = new Map(); // id → what to do with the reply
    this.id = 0;
    this.wait = 100; // the bound of the next random wait, in ms
    this.done = false;
    this.joined = false;
    this.born = Date.now();
    this.open();
  }

  open() {
    const query = [];
    const params = {};
    if (__ENV.TOKEN_SECRET) params.headers = { Authorization: `Bearer ${token(this.user)}` };
    else query.push(`user=${encodeURIComponent(this.user)}`);
    if (this.joined) query.push(`since=${this.pos}`);
    this.asked.clear();
    this.ready = false;
    this.later = null;
    this.timer = null;
    const ws = new WebSocket(`${WS_URL}/ws/chat/${this.room}?${query.join('&')}`, 'chatring.v1', params);
    this.ws = ws;
    ws.onopen = () => {
      this.timer = setTimeout(() => this.listen(ws), 2000);
    };
    ws.onmessage = (e) => this.hear(JSON.parse(e.data));
    ws.onerror = () => this.ended(ws, 1006);
    ws.onclose = (e) => this.ended(ws, e.code);
  }

  // listen comes again where the first frames are missing: what k6 reads before its
  // script knows of the open socket, it drops. The node must know of the member.
  listen(ws) {
    if (this.ws !== ws || this.ready) return;
    deaf.add(1);
    this.ask({ cmd: 'presence' }, (ok, error) => {
      if (error && !error.temporary) {
        failures.add(1);
        console.error(`a member without a place: ${JSON.stringify(error)}`);
      }
      ws.close();
      this.ended(ws, 1006);
    });
  }

  // ended comes back after a random, growing wait, where the close code allows it.
  ended(ws, code) {
    if (this.done || this.ws !== ws) return;
    this.ws = null;
    this.ready = false;
    clearTimeout(this.timer);
    if (code !== 1006 && code !== 1001 && code !== 1012 && !(code >= 4000 && code < 4500)) {
      closes.add(1);
      this.done = true;
      return;
    }
    if (this.joined) reconnects.add(1);
    this.wait = Math.min(this.wait * 2, 5000);
    this.timer = setTimeout(() => this.open(), Math.random() * this.wait + (this.drain || 0));
    this.drain = 0;
  }

  // ask sends a command; then gets ok or error.
  ask(command, then) {
    command.id = ++this.id;
    command.room = command.room || this.room;
    this.asked.set(command.id, then);
    this.ws.send(JSON.stringify(command));
  }

  // insist asks, and asks again while the node says that it cannot answer for now.
  insist(command, then) {
    this.ask(command, (ok, error) => {
      if (error && error.temporary) setTimeout(() => this.insist(command, then), error.retry_after_ms || 100);
      else then(ok, error);
    });
  }

  // publish sends, and sends again until the key is answered.
  publish(key, data) {
    this.pending.set(key, { data: data, at: Date.now(), pos: '' });
    if (this.ready) this.send(key);
  }

  send(key) {
    const p = this.pending.get(key);
    if (!p || !this.ready) return; // answered, or sent after the next join
    this.ask({ cmd: 'publish', key: key, data: p.data }, (ok, error) => {
      if (ok) {
        acked.add(1);
        ackTime.add(Date.now() - p.at);
        this.pending.delete(key);
        this.acked.push(key);
      } else if (error.temporary) {
        setTimeout(() => this.send(key), (error.retry_after_ms || 100) * (1 + Math.random()));
      } else {
        failures.add(1);
        console.error(`publish ${key}: ${JSON.stringify(error)}`);
        this.pending.delete(key);
        unanswered.add(1);
      }
    });
  }

  hear(f) {
    if (f.id) {
      const then = this.asked.get(f.id);
      this.asked.delete(f.id);
      if (then) then(f.ok, f.error);
      return;
    }
    switch (f.push) {
      case 'hello':
        this.shard = f.shard;
        break;
      case 'joined':
        this.place(f);
        break;
      case 'message':
      case 'gap':
      case 'reset':
        if (!this.ready) break; // k6 dropped the join before it
        if (this.later) this.later.push(f);
        else this.take(f);
        break;
      case 'drain':
        this.drain = f.reconnect_ms[0] + Math.random() * (f.reconnect_ms[1] - f.reconnect_ms[0]);
    }
  }

  // place takes the place of a join; what was not recovered is asked for.
  place(f) {
    clearTimeout(this.timer);
    this.wait = 100;
    this.ready = true;
    if (!this.joined) {
      this.joined = true;
      this.pos = f.pos;
      this.first = f.pos;
      joinOK.add(true);
      joinTime.add(Date.now() - this.born);
    } else if (!f.recovered && before(parse(this.pos), parse(f.pos))) {
      this.later = [];
      this.page(parse(f.pos));
    } else {
      this.declared = !f.recovered;
    }
    for (const key of this.pending.keys()) this.send(key);
  }

  // page asks for the history after the last position, up to a place.
  page(until) {
    this.declared = true;
    this.ask({ cmd: 'history', after: this.pos, limit: 256 }, (ok, error) => {
      if (error) {
        if (error.temporary) setTimeout(() => this.ready && this.page(until), error.retry_after_ms || 100);
        else failures.add(1);
        return;
      }
      for (const m of ok.messages) if (!before(until, parse(m.pos))) this.take(m);
      if (ok.more && ok.messages.length && before(parse(this.pos), until)) {
        this.page(until);
        return;
      }
      const later = this.later || [];
      this.later = null;
      for (const m of later) this.take(m);
    });
  }

  // take checks one push against what was heard before it.
  take(f) {
    if (f.push === 'gap') {
      gaps.add(1);
      this.declared = true;
      return;
    }
    if (f.push === 'reset') {
      resets.add(1);
      this.declared = true;
      this.pos = '0-0'; // the log may go on before what was heard
      return;
    }
    const last = parse(this.pos);
    const pos = parse(f.pos);
    if (!before(last, pos)) {
      (this.heard.get(f.key) === f.pos ? doubled : disordered).add(1);
      return;
    }
    const next = this.pos === '0-0' ? pos[1] === 0n : pos[0] === last[0] && pos[1] === last[1] + 1n;
    if (!next && !this.declared) disordered.add(1);
    this.declared = false;
    this.pos = f.pos;
    const earlier = this.heard.get(f.key);
    if (earlier && parse(earlier)[0] === pos[0]) doubled.add(1);
    this.heard.set(f.key, f.pos);
    if (earlier) return;
    this.order.push(f.key);
    delivered.add(1);
    if (f.from === this.user && f.data && f.data.at) e2eTime.add(Date.now() - f.data.at);
  }

  // close ends the member and counts what it never got an answer to.
  close() {
    if (!this.joined) joinOK.add(false);
    unanswered.add(this.pending.size);
    this.done = true;
    clearTimeout(this.timer);
    if (this.ws) this.ws.close();
  }
}

// missing is how many acknowledged messages have not come to all members of a room yet.
export function missing(members) {
  let n = 0;
  for (const speaker of members) {
    for (const key of speaker.acked) {
      for (const m of members) if (!m.heard.has(key)) n++;
    }
  }
  return n;
}

// settle counts the violations of a room at the end: losses, and members that
// heard another order than the first.
export function settle(members) {
  lost.add(missing(members));
  for (const m of members) {
    for (const [key, pos] of members[0].heard) {
      const other = m.heard.get(key);
      if (other && other !== pos) disordered.add(1);
    }
  }
}

// summary is handleSummary for a scenario: text on stdout, and JSON where
// RESULTS says.
export function summary(name, knobs) {
  return (data) => {
    const lines = [`\n${name} ${JSON.stringify(knobs)}`];
    let ok = true;
    for (const metric of Object.keys(data.metrics).sort()) {
      if (!metric.startsWith('chat_') && metric !== 'checks') continue;
      const m = data.metrics[metric];
      const values = Object.entries(m.values).map(([k, v]) => `${k} ${Number.isInteger(v) ? v : v.toFixed(2)}`);
      const bad = Object.entries(m.thresholds || {}).filter(([, t]) => !t.ok).map(([t]) => t);
      if (bad.length) ok = false;
      lines.push(`  ${metric.padEnd(24)} ${values.join(', ')}${bad.length ? `   FAILED: ${bad.join(', ')}` : ''}`);
    }
    lines.push(ok ? '  well' : '  FAILED', '');
    const out = { stdout: lines.join('\n') };
    if (__ENV.RESULTS) {
      out[__ENV.RESULTS] = JSON.stringify({ name, ok, knobs, url: WS_URL, at: new Date().toISOString(), metrics: data.metrics }, null, 2);
    }
    return out;
  };
}
