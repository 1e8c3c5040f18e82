// Real browsers on the page of a real cluster: people talk, lines are cut, nodes are killed,
// and every message must stand on every screen once and in one order.
//
//   vite-node run.ts http://127.0.0.1:8080 build/screenshots [SUBJECT…]
//
// scripts/test-browser starts it. CHATRING_STATE is the folder of the cluster, if it may be
// hurt; CHATRING_BIN is a node to start beside it; CHROMIUM is the browser.

import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { Cluster } from "./cluster";
import { run } from "./runner";
import "./chat";
import "./reading";
import "./people";
import "./hostile";
import "./tokens";
import "./transport";
import "./faults";
import "./ring";
import "./looks";
import "./sizes";
import "./programs"; // at the end: streams that were left count for up to two heartbeats

const [url, shots, ...subjects] = process.argv.slice(2);
if (!url || !shots) throw new Error("usage: run.ts URL FOLDER [SUBJECT…]");
mkdirSync(shots, { recursive: true });
const failed = await run(new Cluster(url, process.env.CHATRING_STATE), resolve(shots), subjects);
process.exit(failed ? 1 : 0);
