// What the tests of the examples share.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, inject, onTestFinished } from "vitest";
import { root } from "./files.js";

let rooms = 0;
/** A room that nobody has been in. */
export const freshRoom = () => `room-${process.pid}-${++rooms}`;

/** Waits until something is true, or says what it is like instead. */
export async function until<T>(
  what: string,
  look: () => T | false | undefined | Promise<T | false | undefined>,
) {
  const deadline = Date.now() + 15_000;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`${what} has not come in 15 s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A program that runs until it or the test ends. */
export class Program {
  /** All that it has printed, for what it says and for messages of tests. */
  out = "";
  #stdout = "";
  #child: ChildProcess;
  #exit: Promise<number | null>;

  constructor(command: string, args: string[], env: Record<string, string> = {}, cwd = `${root}/app/web`) {
    this.#child = spawn(command, args, { cwd, env: { ...process.env, ...env }, detached: true });
    this.#exit = new Promise((resolve) => {
      this.#child.once("error", (error) => {
        this.out += error;
        resolve(null);
      });
      this.#child.once("close", resolve);
    });
    this.#child.stdout?.setEncoding("utf8").on("data", (text) => {
      this.out += text;
      this.#stdout += text;
    });
    this.#child.stderr?.setEncoding("utf8").on("data", (text) => {
      this.out += text;
    });
    onTestFinished(() => this.end());
  }

  /**
   * The lines of its standard output, without empty ones and one that is not complete. (npx
   * has its own to say on the other.)
   */
  get lines() {
    return this.#stdout
      .split("\n")
      .slice(0, -1)
      .filter((line) => line !== "");
  }

  type(line: string) {
    this.#child.stdin?.write(`${line}\n`);
  }

  /** Waits until it has printed this. */
  async says(text: string | RegExp) {
    await until(`${JSON.stringify(String(text))} from a program that says\n${this.out}\nwhich`, () =>
      typeof text === "string" ? this.out.includes(text) : text.test(this.out),
    );
  }

  /** Resolves with its exit code. */
  get exit() {
    return this.#exit;
  }

  /** Ends it and what it has started. */
  async end() {
    const { pid, exitCode, signalCode } = this.#child;
    if (pid && exitCode === null && signalCode === null) process.kill(-pid, "SIGKILL");
    await this.#exit;
  }
}

/** Serves files at the port of another site. */
export async function site(
  port: number,
  files: Record<string, { type: string; body: string }>,
): Promise<void> {
  const server = createServer((request, response) => {
    const file = files[request.url ?? ""];
    response.writeHead(file ? 200 : 204, { "Content-Type": file?.type ?? "text/plain" }).end(file?.body);
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
}

/** Starts Chromium for the tests of a file. */
export function browser(): () => Promise<Page> {
  let chrome: Browser;
  beforeAll(async () => {
    chrome = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-sync",
      ],
    });
  });
  afterAll(() => chrome.close());

  return async () => {
    const context = await chrome.newContext();
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    onTestFinished(() => context.close());
    return page;
  };
}

/** Says something in a room, once, as a user of a cluster in dev mode; a node may die meanwhile. */
export async function say(room: string, user: string, text: string) {
  const request = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ as: user, key: `${user} ${text}`.replace(/[^\w]/g, "-"), data: { text } }),
  };
  await until(`that ${user} says ${text}`, () => api(room, "messages", request).catch(() => false));
}

/** Who has said what in a room, in order. */
export async function said(room: string): Promise<string[]> {
  const { messages } = (await api(room, "messages?after=0-0&limit=256")) as {
    messages: { from: string; data: { text: string } }[];
  };
  return messages.map(({ from, data }) => `${from}: ${data.text}`);
}

/** Who is in a room, each with the number of their sessions. */
export async function present(room: string): Promise<string[]> {
  const { users } = (await api(room, "presence")) as { users: { user: string; sessions: number }[] };
  return users.map(({ user, sessions }) => `${user} ${sessions}`);
}

async function api(room: string, what: string, request?: RequestInit): Promise<unknown> {
  const url = new URL(`http://127.0.0.1:${inject("port")}/api/rooms/${room}/${what}`);
  url.searchParams.set("service", "test");
  const answer = await fetch(url, request);
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return answer.json();
}

/** Kills the node that is home to a room, without a word to it, and says which that was. */
export async function killHome(room: string): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${inject("port")}/shard/${room}`);
  const number = answer.headers.get("X-Shard")?.slice(0, 1) ?? "";
  process.kill(Number(readFileSync(join(inject("state"), `ws${number}.pid`), "utf8")), "SIGKILL");
  return number;
}

/** Starts a node again. */
export const revive = (node: string) =>
  promisify(execFile)(join(root, "scripts/up"), ["--node", node], {
    env: { ...process.env, CHATRING_STATE: inject("state") },
  });

/** A port that nobody listens at. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
