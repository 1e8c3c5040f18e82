// Starts the cluster that all of these tests share: two nodes behind HAProxy, in dev mode, which takes
// pages of one more origin.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { blocks, root, variables } from "./files.js";

declare module "vitest" {
  interface ProvidedContext {
    state: string;
    port: number;
    pagePort: number;
  }
}

export default async function setup(project: TestProject) {
  const state = mkdtempSync(join(tmpdir(), "examples-"));
  const port = await freePorts();
  const pagePort = port + 50; // pages that are not the cluster's come from here
  const [block] = blocks("docs/examples/README.md", "Ten lines of HTML").map((text) =>
    text.replaceAll(":3000", `:${pagePort}`),
  );
  const script = (name: string, ...args: string[]) =>
    execFileSync(join(root, "scripts", name), args, {
      env: {
        ...process.env,
        ...variables(block),
        CHATRING_STATE: state,
      },
      stdio: ["ignore", "ignore", "inherit"],
      timeout: 60_000,
    });

  script("up", "-d", "--port", String(port), "--shards", "2");
  project.provide("state", state);
  project.provide("port", port);
  project.provide("pagePort", pagePort);
  return () => {
    script("down");
    rmSync(state, { recursive: true });
  };
}

/** A port such that those that a cluster of two nodes takes, and that of the pages, are free. */
async function freePorts(): Promise<number> {
  for (let base = 26_000 + 200 * (process.pid % 20); base < 32_000; base += 200) {
    const taken = await Promise.all(
      [0, 1, 2, 50, 90, 98, 99, 101, 102].map((offset) => inUse(base + offset)),
    );
    if (!taken.includes(true)) return base;
  }
  throw new Error("no free ports");
}

const inUse = (port: number) =>
  new Promise<boolean>((resolve) => {
    const server = createServer()
      .once("error", () => resolve(true))
      .listen(port, "127.0.0.1", () => server.close(() => resolve(false)));
  });
