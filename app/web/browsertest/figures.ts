// How long the page's first load takes, and what it costs: the median of some loads, each in
// a fresh browser profile, with a processor that is four times slower, over the line as it is
// and over one like a phone's.
//
//   vite-node figures.ts http://127.0.0.1:8080

import type { BrowserContext } from "playwright-core";
import { LOOK, launch } from "./runner";
import { PATIENCE } from "./wait";

const LOADS = 5;
const SLOWER = 4;
// What Lighthouse takes for a phone: 150 ms there and back, 1.6 Mbit/s down, 0.75 up.
const PHONE = {
  latency: 150,
  downloadThroughput: 1_638_400 / 8,
  uploadThroughput: 768_000 / 8,
  offline: false,
};

const FIGURES = {
  "first contentful paint": "ms",
  "largest contentful paint": "ms",
  "time to connected": "ms",
  "total blocking time": "ms",
  "layout shift": "",
  requests: "",
  "bytes over the line": "kB",
} as const;
type Figures = Record<keyof typeof FIGURES, number>;

interface Seen {
  paint: number;
  largest: number;
  connected: number;
  blocked: number;
  shifted: number;
}

// look collects, in the page, what the browser tells of its load.
function look(): void {
  const seen: Seen = { paint: 0, largest: 0, connected: 0, blocked: 0, shifted: 0 };
  Object.assign(window, { seen });
  const observe = (type: string, take: (entry: PerformanceEntry) => void) =>
    new PerformanceObserver((list) => list.getEntries().forEach(take)).observe({ type, buffered: true });
  observe("paint", ({ name, startTime }) => {
    if (name === "first-contentful-paint") seen.paint = startTime;
  });
  observe("largest-contentful-paint", ({ startTime }) => {
    seen.largest = startTime;
  });
  observe("longtask", ({ duration }) => {
    seen.blocked += Math.max(0, duration - 50);
  });
  observe("layout-shift", (entry) => {
    seen.shifted += (entry as PerformanceEntry & { value: number }).value;
  });
  const connected = () => {
    if (document.querySelector("[data-testid=dot][data-state=joined]")) seen.connected = performance.now();
    else requestAnimationFrame(connected);
  };
  connected();
}

async function load(context: BrowserContext, url: string, network: typeof PHONE | null): Promise<Figures> {
  const page = await context.newPage();
  const cdp = await context.newCDPSession(page);
  await cdp.send("Network.enable");
  await cdp.send("Emulation.setCPUThrottlingRate", { rate: SLOWER });
  if (network) await cdp.send("Network.emulateNetworkConditions", network);
  const [requests, bytes] = [new Set<string>(), [] as number[]];
  cdp.on("Network.responseReceived", ({ requestId }) => requests.add(requestId));
  cdp.on("Network.loadingFinished", ({ encodedDataLength }) => bytes.push(encodedDataLength));
  await page.addInitScript(look);
  await page.goto(`${url}/#figures`);
  await page.waitForFunction(() => (window as unknown as { seen: Seen }).seen.connected > 0, undefined, {
    timeout: PATIENCE,
  });
  await page.waitForLoadState("networkidle");
  const seen = await page.evaluate(() => (window as unknown as { seen: Seen }).seen);
  return {
    "first contentful paint": seen.paint,
    "largest contentful paint": seen.largest,
    "time to connected": seen.connected,
    "total blocking time": seen.blocked,
    "layout shift": seen.shifted,
    requests: requests.size,
    "bytes over the line": bytes.reduce((sum, n) => sum + n, 0) / 1000,
  };
}

const median = (all: number[]): number => all.sort((a, b) => a - b)[all.length >> 1] ?? 0;

const url = process.argv[2];
if (!url) throw new Error("usage: figures.ts URL");
const browser = await launch();
const columns: Figures[][] = [];
for (const network of [null, PHONE]) {
  const loads: Figures[] = [];
  for (let i = 0; i < LOADS; i++) {
    const context = await browser.newContext(LOOK);
    loads.push(await load(context, url.replace(/\/$/, ""), network));
    await context.close();
  }
  columns.push(loads);
}
await browser.close();

console.log(`median of ${LOADS} first loads, processor ${SLOWER} times slower\n`);
console.log("| | this line | 150 ms, 1.6 Mbit/s |\n|---|---:|---:|");
for (const [name, unit] of Object.entries(FIGURES) as [keyof Figures, string][]) {
  const values = columns.map((loads) => median(loads.map((figures) => figures[name])));
  const digits = name === "layout shift" ? 3 : unit === "kB" ? 1 : 0;
  console.log(
    `| ${name} | ${values.map((value) => `${value.toFixed(digits)} ${unit}`.trim()).join(" | ")} |`,
  );
}
