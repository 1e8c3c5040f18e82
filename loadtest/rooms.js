// rooms: ROOMS rooms with MEMBERS members each, in which RATE messages per
// second are said in all, for DURATION. Every member of a room lives in one VU,
// so that what they hear can be compared; a VU holds ROOMS/VUS rooms.
//
//   "$(scripts/install-k6)" run loadtest/rooms.js
//   k6 run -e ROOMS=200 -e MEMBERS=10 -e RATE=500 -e DURATION=2m -e RESULTS=rooms.json loadtest/rooms.js
//
//   BASE_URL      the cluster                        http://127.0.0.1:8080
//   WS_URL        its WebSocket address              BASE_URL with ws for http
//   VUS           JavaScript threads                 4
//   ROOMS         rooms in all                       40
//   MEMBERS       members of each room               5
//   RATE          messages per second, in all        100
//   DURATION      how long messages are said         30s
//   RAMP          how long the joining takes         5s
//   SIZE          bytes of text in each message      64
//   MAX_P99       ms, publish to own echo            250
//   TOKEN_SECRET  signs tokens; without it the cluster must run auth.mode=dev
//   RESULTS       file for the JSON summary, none unless set
//
// All sockets come from one address: whoever starts the cluster for a load test
// raises HAProxy's limits per address (WS_RATE_PER_IP and its like). k6 works on
// the same CPUs as what it measures: its own use is part of the result.
//
// exit codes: 0 well · 99 a threshold was missed, as when nobody is there

import exec from 'k6/execution';
import { Member, missing, number, seconds, settle, summary } from './chatring.js';

const VUS = number('VUS', 4);
const ROOMS = number('ROOMS', 40);
const MEMBERS = number('MEMBERS', 5);
const RATE = number('RATE', 100);
const DURATION = seconds('DURATION', '30s');
const RAMP = seconds('RAMP', '5s');
const SIZE = number('SIZE', 64);
const MAX_P99 = number('MAX_P99', 250);
const SETTLE = 15; // seconds to wait for what is acknowledged and not heard
const FLOOR = Math.floor(0.9 * RATE * DURATION);

export const options = {
  scenarios: {
    rooms: { executor: 'per-vu-iterations', vus: VUS, iterations: 1, maxDuration: `${RAMP + DURATION + SETTLE + 30}s` },
  },
  summaryTrendStats: ['avg', 'med', 'p(95)', 'p(99)', 'max'],
  thresholds: {
    // Floors: silence shows nothing.
    chat_join_ok: ['rate>0.99'],
    chat_acked: [`count>=${FLOOR}`],
    chat_delivered: [`count>=${FLOOR * MEMBERS}`],
    chat_e2e_latency: [`p(99)<${MAX_P99}`],
    chat_lost: ['count==0'],
    chat_unanswered: ['count==0'],
    chat_dup: ['count==0'],
    chat_order_violations: ['count==0'],
    chat_errors: ['count==0'],
    chat_terminal_closes: ['count==0'],
  },
};

export const handleSummary = summary('rooms', { VUS, ROOMS, MEMBERS, RATE, DURATION, SIZE });

export function setup() {
  return Date.now().toString(36);
}

export default function (run) {
  const me = exec.vu.idInTest - 1;
  const rooms = [];
  for (let r = me; r < ROOMS; r += VUS) rooms.push({ name: `rooms-${run}-${r}`, members: [] });
  if (rooms.length === 0) return;
  const rate = (RATE * rooms.length) / ROOMS; // this VU's share
  const text = 'x'.repeat(SIZE);
  const born = Date.now();
  let talking = 0; // since when
  let said = 0;
  let hushed = 0;

  const watch = setInterval(() => {
    const now = Date.now();
    if (!talking) {
      join(now);
    } else if (now - talking < DURATION * 1000) {
      talk(now);
    } else {
      hushed = hushed || now;
      const open = rooms.some((r) => r.members.some((m) => m.pending.size > 0));
      if ((!open && rooms.every((r) => missing(r.members) === 0)) || now - hushed > SETTLE * 1000) end();
    }
  }, 10);

  // join opens the sockets evenly over the ramp, member after member of all
  // rooms, and begins to talk when all have joined or are long overdue.
  let opened = 0;
  function join(now) {
    const total = rooms.length * MEMBERS;
    const due = Math.min(total, Math.ceil((total * (now - born + 1)) / (RAMP * 1000 || 1)));
    for (; opened < due; opened++) {
      const r = rooms[opened % rooms.length];
      r.members.push(new Member(r.name, `user${r.members.length}`));
    }
    const here = opened === total && rooms.every((r) => r.members.every((m) => m.joined));
    if (here || now - born > (RAMP + 10) * 1000) talking = now;
  }

  function talk(now) {
    for (const due = Math.floor(((now - talking) * rate) / 1000); said < due; said++) {
      const r = rooms[said % rooms.length];
      const m = r.members[Math.floor(said / rooms.length) % MEMBERS];
      m.publish(`${run}.${me}.${said}`, { text: text, at: Date.now() });
    }
  }

  function end() {
    clearInterval(watch);
    for (const r of rooms) {
      settle(r.members);
      for (const m of r.members) m.close();
    }
  }
}
