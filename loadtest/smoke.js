// smoke: a few rooms with a few members each talk through the cluster, and
// every promise of the wire is looked at once: joins, acknowledgements, the
// same order at every member, idempotent retries, history, presence, errors.
// Takes a few seconds; DURATION stretches it, so that a node can be stopped and
// started meanwhile.
//
//   "$(scripts/install-k6)" run loadtest/smoke.js
//   k6 run -e BASE_URL=http://127.0.0.1:18080 -e RESULTS=smoke.json loadtest/smoke.js
//
//   BASE_URL      the cluster               http://127.0.0.1:8080
//   WS_URL        its WebSocket address     BASE_URL with ws for http
//   ROOMS         rooms, one VU each        4
//   MEMBERS       members of each room      3
//   MESSAGES      said by each member       20
//   DURATION      talk at least so long     0s
//   TIMEOUT       give up after             15s (on top of DURATION)
//   TOKEN_SECRET  signs tokens; without it the cluster must run auth.mode=dev
//   RESULTS       file for the JSON summary, none unless set
//
// All sockets come from one address: whoever starts the cluster for a load test
// raises HAProxy's limits per address (WS_RATE_PER_IP and its like).
//
// exit codes: 0 well · 99 a threshold was missed, as when nobody is there

import http from 'k6/http';
import { check } from 'k6';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { BASE_URL, Member, missing, number, seconds, settle, summary } from './chatring.js';

const ROOMS = number('ROOMS', 4);
const MEMBERS = number('MEMBERS', 3);
const MESSAGES = number('MESSAGES', 20);
const DURATION = seconds('DURATION', '0s');
const TIMEOUT = seconds('TIMEOUT', '15s');
const TOTAL = ROOMS * MEMBERS * MESSAGES;

const asked = new Counter('chat_asked'); // rooms in which all questions were asked

export const options = {
  scenarios: {
    smoke: { executor: 'per-vu-iterations', vus: ROOMS, iterations: 1, maxDuration: `${DURATION + TIMEOUT + 10}s` },
  },
  summaryTrendStats: ['avg', 'med', 'p(95)', 'p(99)', 'max'],
  thresholds: {
    // Floors: silence shows nothing.
    chat_join_ok: ['rate==1'],
    chat_acked: [`count==${TOTAL}`],
    chat_delivered: [`count==${TOTAL * MEMBERS}`],
    checks: ['rate==1'],
    chat_asked: [`count==${ROOMS}`],
    chat_lost: ['count==0'],
    chat_unanswered: ['count==0'],
    chat_dup: ['count==0'],
    chat_order_violations: ['count==0'],
    chat_errors: ['count==0'],
    chat_terminal_closes: ['count==0'],
  },
};

export const handleSummary = summary('smoke', { ROOMS, MEMBERS, MESSAGES, DURATION });

export function setup() {
  return Date.now().toString(36);
}

export default function (run) {
  const room = `smoke-${run}-${exec.vu.idInTest}`;
  const shard = http.get(`${BASE_URL}/shard/${room}`);
  check(shard, {
    'the shard of a room can be asked for': (r) => r.status === 200 && r.json('room') === room && r.json('shard') !== '',
  });

  const members = [];
  for (let i = 0; i < MEMBERS; i++) members.push(new Member(room, `user|${i}@example.com`));
  const begun = Date.now();
  const gap = Math.max((DURATION * 1000) / MESSAGES, 1);
  let said = 0;

  // Watch the room's state until it has said everything, or until time is up.
  let state = 'joining';
  const watch = setInterval(() => {
    const now = Date.now();
    if (now - begun > (DURATION + TIMEOUT) * 1000) return end();
    switch (state) {
      case 'joining':
        if (members.every((m) => m.joined)) state = 'talking';
        break;
      case 'talking':
        while (said < MESSAGES && now - begun >= said * gap) {
          members.forEach((m, i) => m.publish(`${run}.${i}.${said}`, { text: `message ${said} <&> "€" 🙂`, at: Date.now() }));
          said++;
        }
        if (said === MESSAGES && members.every((m) => m.pending.size === 0)) state = 'hearing';
        break;
      case 'hearing':
        if (missing(members) === 0 && members.every((m) => m.ready)) {
          state = 'asking';
          ask(members, end);
        }
    }
  }, 10);

  function end() {
    clearInterval(watch);
    settle(members);
    for (const m of members) m.close();
  }

  // ask tries what is not a load, one command after the other.
  function ask([m], then) {
    const key = m.acked[0];
    m.insist({ cmd: 'publish', key: key, data: { text: 'another' } }, (ok, error) => {
      check(error, { 'a key that stands for another message is a conflict': (e) => e && e.code === 'conflict' });
      m.insist({ cmd: 'publish', key: `${run}.x`, room: 'elsewhere', data: 1 }, (ok, error) => {
        check(error, { 'a room that is not joined answers not_joined': (e) => e && e.code === 'not_joined' });
        m.insist({ cmd: 'nonsense' }, (ok, error) => {
          check(error, { 'a command that is none is unknown': (e) => e && e.code === 'unknown_command' });
          m.insist({ cmd: 'presence' }, (ok) => {
            check(ok, { 'presence names every member': (p) => p && p.total === MEMBERS && p.users.length === MEMBERS });
            history(m, m.first, [], then);
          });
        });
      });
    });
  }

  // history reads everything since the member joined, and compares it with
  // what was pushed.
  function history(m, after, keys, then) {
    m.insist({ cmd: 'history', after: after, limit: 50 }, (ok, error) => {
      if (ok) keys = keys.concat(ok.messages.map((f) => f.key));
      if (ok && ok.more && ok.messages.length) {
        history(m, ok.messages[ok.messages.length - 1].pos, keys, then);
        return;
      }
      check(keys, { 'history is what was pushed, in the same order': (k) => !error && k.join() === m.order.join() });
      asked.add(1);
      then();
    });
  }
}
