// What is served under /sdk/, and what npm takes: one module, small, that runs as it is.

import { execFileSync, spawnSync } from "node:child_process";
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test, vi } from "vitest";

const MOST_BYTES = 12 * 1024; // gzipped

vi.setConfig({ testTimeout: 60_000 });

const sdk = fileURLToPath(new URL("..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "chatring-sdk-"));
const built = join(folder, "package/chat.js");

// What npm takes is what is served, so the tests look at the package.
beforeAll(() => {
  execFileSync(join(sdk, "build"), [join(folder, "out")]);
  execFileSync("tar", ["-xzf", join(folder, "out/chatring.tgz"), "-C", folder]);
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("the package has the module, its types and what to read, and no more", () => {
  const { main, types } = JSON.parse(readFileSync(join(folder, "package/package.json"), "utf8"));
  expect([main, types]).toEqual(["./chat.js", "./chat.d.ts"]);
  const files = readdirSync(join(folder, "package"));
  expect(files.filter((name) => !name.endsWith(".d.ts"))).toEqual([
    "LICENSE",
    "README.md",
    "chat.js",
    "package.json",
  ]);
  expect(readFileSync(join(folder, "out/chat.js"))).toEqual(readFileSync(built));
});

test("the types are enough for a strict program, which may give the WebSocket of ws", () => {
  writeFileSync(
    join(folder, "program.ts"),
    `import { Chat, ChatError, compare, type ChatOptions, type Message, type Room } from "./package/chat.js";
     import WebSocket from "ws";
     const options: ChatOptions = { getToken: async (why) => (why === "first" ? "a" : "b"), WebSocket };
     const chat: Chat = new Chat("https://chat.example.com", options);
     const room: Room = chat.room("lobby", { members: true });
     room.on("message", (message: Message) => compare(message.pos, "0-0"));
     chat.on("inbox", ({ data }) => data.type === "mention" && data.room.length);
     export const key: Promise<string> = room.send({ any: 1 }).then(({ key }) => key);
     export const code = (error: unknown) => (error instanceof ChatError ? error.code : "");
     // @ts-expect-error there is no such event
     room.on("massage", () => {});`,
  );
  const strict = [
    "--strict",
    "--exactOptionalPropertyTypes",
    "--noEmit",
    "--skipLibCheck",
    "--module",
    "esnext",
  ];
  const where = [
    "--moduleResolution",
    "bundler",
    "--target",
    "es2022",
    "--esModuleInterop",
    "--types",
    "node",
  ];
  symlinkSync(join(sdk, "../node_modules"), join(folder, "node_modules"));
  const tsc = join(sdk, "../node_modules/.bin/tsc");
  const { stdout } = spawnSync(tsc, [...strict, ...where, "program.ts"], { cwd: folder });
  expect(stdout.toString()).toBe("");
});

test("the module has at most 12 kB gzipped, and needs no other", () => {
  const text = readFileSync(built);
  const bytes = gzipSync(text, { level: 9 }).length;
  console.log(`chat.js: ${statSync(built).size} bytes, ${bytes} gzipped`);
  expect(bytes).toBeLessThanOrEqual(MOST_BYTES);
  expect(text.toString()).not.toMatch(/\bimport\b|\brequire\(|\beval\(|new Function|innerHTML/);
});

test("the module runs in plain Node, which ends when the chat has disconnected", () => {
  const program = `
    import { Chat, ChatError, compare } from ${JSON.stringify(pathToFileURL(built).href)};
    const chat = new Chat("http://127.0.0.1:1", { user: "alice", transport: "sse", minDelay: 50 });
    const room = chat.room("lobby");
    const sent = room.join().catch((error) => error instanceof ChatError && error.code);
    room.send("hi");
    let attempts = 0;
    chat.on("state", ({ retryAt }) => retryAt && ++attempts === 3 && chat.disconnect());
    console.log(await sent, attempts, compare("1-2", "1-10") < 0, room.pending.length);
  `;
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", program], {
    timeout: 30_000,
  });
  expect(stderr.toString()).toBe("");
  expect(stdout.toString()).toBe("disconnected 3 true 1\n");
  expect(status).toBe(0);
});
