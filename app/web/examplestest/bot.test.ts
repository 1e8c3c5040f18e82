// The bot, while the node that serves its room is killed.

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, inject, onTestFinished, test } from "vitest";
import { aimed, blocks, read, root } from "./files.js";
import { freshRoom, killHome, Program, revive, said, say, until } from "./harness.js";

const port = inject("port");

/** A folder with the bot where the README says, and ws if wanted. */
function folder(room: string, ws: boolean): string {
  const path = mkdtempSync(join(tmpdir(), "bot-"));
  onTestFinished(() => rmSync(path, { recursive: true }));
  mkdirSync(join(path, "docs/examples"), { recursive: true });
  writeFileSync(join(path, "docs/examples/bot.mjs"), aimed(read("docs/examples/bot.mjs"), port, room));
  if (ws) {
    mkdirSync(join(path, "node_modules"));
    symlinkSync(join(root, "app/web/node_modules/ws"), join(path, "node_modules/ws"));
  }
  return path;
}

test.each([
  ["websocket", true],
  ["sse", false],
])("over %s it answers each question once, whatever happens to its node", async (transport, ws) => {
  const room = freshRoom();
  const path = folder(room, ws);
  const [block = ""] = blocks("docs/examples/README.md", "A bot");
  const lines = aimed(block, port, room).trim().split("\n");
  const printed = lines.filter((line) => !line.startsWith("$ "));
  const script = lines.filter((line) => line.startsWith("$ ")).map((line) => line.slice(2));
  const start = () => new Program("bash", ["-c", script.join(" && ")], {}, path);
  const asked: string[] = [];
  const answered: string[] = [];
  const ask = async (user: string) => {
    asked.push(user);
    answered.push(`bot: Hello, ${user}!`);
    await say(room, user, "!hello");
  };
  const answers = async () => (await said(room)).filter((line) => line.startsWith("bot: "));
  const allAnswered = () =>
    until(`an answer to each of ${asked}`, async () => (await answers()).length >= answered.length);

  await say(room, "early", "!hello"); // before it is there
  const bot = start();
  await bot.says(`in ${room}, over ${transport}`);
  expect(bot.lines.map((line) => line.trimEnd())).toEqual(
    printed.map((line) => line.replace("websocket", transport)),
  );
  await ask("alice");
  await allAnswered();

  const home = await killHome(room);
  for (const user of ["bob", "carol"]) await ask(user); // while it looks for another node
  await allAnswered();
  await revive(home);
  await ask("dave");
  await allAnswered();

  // Another one, started meanwhile, does not answer a second time.
  const second = start();
  await second.says(`in ${room}, over ${transport}`);
  await ask("erin");
  await allAnswered();
  await bot.end();
  await ask("frank");
  await allAnswered();
  expect((await answers()).sort()).toEqual(answered.sort());
});
