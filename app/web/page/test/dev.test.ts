import { createServer as listen } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { createServer } from "vite";
import { afterEach, expect, test } from "vitest";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const configFile = fileURLToPath(new URL("../../vite.config.ts", import.meta.url));

for (const [mode, page, asked] of [
  ["page", "/", "/sse/chat/lobby"],
  ["ring", "/ring/", "/ring/state"],
] as const)
  test(`while the ${mode} is edited, a cluster answers what it asks for, as if it had served it`, async () => {
    const cluster = listen((request, response) => response.end(`${request.headers.host} ${request.url}`));
    await new Promise<void>((done) => cluster.listen(0, "127.0.0.1", done));
    ends.push(() => cluster.close());
    process.env.DEV_URL = `http://127.0.0.1:${(cluster.address() as AddressInfo).port}`;
    const vite = await createServer({
      configFile,
      mode,
      logLevel: "silent",
      server: { port: 0, hmr: false },
    });
    ends.push(() => vite.close());
    await vite.listen();
    const { host } = new URL(vite.resolvedUrls?.local[0] ?? "");
    const get = async (path: string) =>
      (await fetch(`http://${host}${path}`, { headers: { accept: "text/html" } })).text();
    expect(await get(page)).toContain("main.tsx");
    expect(await get(asked)).toBe(`${host} ${asked}`);
  });
