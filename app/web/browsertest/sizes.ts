import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { subject } from "./runner";

const check = subject("sizes");

const KB = 1000;
export const kB = (bytes: number): string => `${(bytes / KB).toFixed(1)} kB`;

check("the SDK is 12 kB at the most, compressed", async (stage) => {
  const file = readFileSync(fileURLToPath(new URL("../dist/sdk/chat.js", import.meta.url)));
  const short = gzipSync(file, { level: 9 }).length;
  stage.say(`dist/sdk/chat.js: ${kB(short)} compressed, ${kB(file.length)} plain`);
  assert.ok(short <= 12 * KB, `${kB(short)} compressed`);
});

check("the page's first load is 80 kB at the most, as it comes over the line", async (stage) => {
  const parts = new Map<string, { url: string; bytes: number }>();
  const alice = await stage.come("alice", stage.name("room"), {
    prepare: async ({ context, page }) => {
      const cdp = await context.newCDPSession(page);
      await cdp.send("Network.enable");
      cdp.on("Network.responseReceived", ({ requestId, response }) =>
        parts.set(requestId, { url: response.url, bytes: 0 }),
      );
      cdp.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
        const part = parts.get(requestId);
        if (part) part.bytes = encodedDataLength;
      });
    },
  });
  await alice.joined();
  await alice.page.waitForLoadState("networkidle");
  const all = [...parts.values()];
  for (const { url, bytes } of all) stage.say(`${new URL(url).pathname}: ${kB(bytes)}`);
  const sum = all.reduce((total, { bytes }) => total + bytes, 0);
  stage.say(`${all.length} requests, ${kB(sum)} with headers`);
  assert.ok(
    all.some(({ bytes }) => bytes > 0),
    "something was loaded",
  );
  assert.ok(sum <= 80 * KB, kB(sum));
});

check("what stands on the page stays where it is while the rest comes", async (stage) => {
  const alice = await stage.come("alice", stage.name("room"), {
    prepare: ({ page }) =>
      page.addInitScript(() => {
        Object.assign(window, { shift: 0 });
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries() as (PerformanceEntry & { value: number })[])
            (window as unknown as { shift: number }).shift += entry.value;
        }).observe({ type: "layout-shift", buffered: true });
      }),
  });
  await alice.joined();
  await alice.empty().waitFor();
  const shift = (await alice.page.evaluate("window.shift")) as number;
  stage.say(`cumulative layout shift: ${shift.toFixed(3)}`);
  assert.ok(shift < 0.1, `${shift}`); // what web.dev/cls calls good
});
