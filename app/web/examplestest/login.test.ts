// The login service, its page, and a node that believes nothing but its tokens.

import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { aimed, blocks, read, variables } from "./files.js";
import { browser, freePort, Program, until } from "./harness.js";

const open = browser();
const chatring = String(process.env.CHATRING_BIN);
let login: string;
let chat: string;
let settings: Record<string, string>; // of the node

beforeEach(async () => {
  const folder = mkdtempSync(join(tmpdir(), "login-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const [loginPort, chatPort] = [await freePort(), await freePort()];
  login = `http://localhost:${loginPort}`;
  chat = `http://localhost:${chatPort}`;
  writeFileSync(join(folder, "secret"), `${randomBytes(32).toString("hex")}\n`);
  for (const file of ["login.mjs", "login.html"]) {
    writeFileSync(join(folder, file), aimed(read(`docs/examples/${file}`), chatPort, "lobby"));
  }
  const service = new Program("node", ["login.mjs"], { PORT: String(loginPort) }, folder);
  const [block = ""] = blocks("docs/examples/README.md", "A login service");
  settings = {
    ...variables(block.replaceAll(":3000", `:${loginPort}`).replaceAll("$PWD", folder)),
    CHATRING_LISTEN: `127.0.0.1:${chatPort}`,
    CHATRING_OPS_LISTEN: "",
  };
  const node = new Program(chatring, ["serve"], settings);
  const up = (url: string) =>
    fetch(url).then(
      () => true,
      () => false,
    );
  await until(`the login service: ${service.out}`, () => up(login));
  await until(`the node: ${node.out}`, () => up(`${chat}/healthz`));
});

const post = (path: string, body?: unknown, cookie = "") =>
  fetch(login + path, {
    method: "POST",
    headers: { cookie },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });

test("who has not logged in gets no token", async () => {
  for (const body of [
    undefined,
    { user: "alice", password: "wrong" },
    { user: "nobody" },
    { user: "alice" },
  ]) {
    const answer = await post("/login", body);
    expect([answer.status, answer.headers.get("set-cookie")]).toEqual([401, null]);
  }
  expect((await post("/token")).status).toBe(401);
  expect((await post("/token", undefined, "session=forged")).status).toBe(401);
  expect((await fetch(`${login}/secret`)).status).toBe(404);
});

test("the page logs in, and is believed to be who it says by the token alone", async () => {
  const page = await open();
  await page.goto(login);
  const who = page.locator("#who");
  await who.getByText("Please log in").waitFor();
  await page.getByPlaceholder("alice").fill("alice");
  await page.locator("[name=password]").fill("wrong");
  await page.keyboard.press("Enter");
  await who.getByText("Please log in").waitFor();
  await page.locator("[name=password]").fill("wonderland");
  await page.keyboard.press("Enter");
  await who.getByText("connected alice").waitFor();

  await page.reload(); // the cookie is enough
  await who.getByText("connected alice").waitFor();
});

test("the lines of docs/clients.md run in a page that has logged in", async () => {
  const page = await open();
  await page.goto(login);
  expect(
    await page.evaluate(() =>
      fetch("/login", { method: "POST", body: '{"user":"bob","password":"builder"}' }).then((r) => r.status),
    ),
  ).toBe(200);
  const run = async (lines: string, says: RegExp) => {
    const said = page.waitForEvent("console", (message) => says.test(message.text()));
    const fails = page.waitForEvent("pageerror").then((error) => Promise.reject(error));
    fails.catch(() => {}); // when the test is over
    await page.addScriptTag({ type: "module", content: lines.replaceAll("https://chat.example.com", chat) });
    await Promise.race([said, fails]);
  };
  const [sdk = ""] = blocks("docs/clients.md", "The SDK");
  const [tokens = ""] = blocks("docs/clients.md", "Tokens").filter((block) => block.includes("getToken"));
  const getToken = 'const getToken = async () => (await fetch("/token", { method: "POST" })).text();';

  await run(`${getToken}\n${sdk}`, /^bob \{text: hello\}$/);
  await run(`${tokens}\nconsole.log("I am", (await chat.ready()).user);`, /^I am bob$/);
  const [ticket = ""] = blocks("docs/clients.md", "SSE");
  const after = `${sdk.replace("hello", "over SSE")}\n`;
  await run(
    `${getToken}\nconst token = await getToken();\n${ticket}\nevents.onopen = () => console.log("open");`,
    /^open$/,
  );
  // It comes back by the cookie, when the node has closed it.
  const ops = execFileSync(chatring, ["token", "--user", "ops", "--service", "admin"], {
    env: { ...process.env, ...settings },
    encoding: "utf8",
  });
  const back = page.waitForEvent("console", (message) => message.text() === "open");
  const closed = await fetch(`${chat}/api/users/bob/disconnect`, {
    method: "POST",
    headers: { Authorization: `Bearer ${ops.trim()}`, "Content-Type": "application/json" },
    body: "{}",
  });
  expect(closed.status).toBe(200);
  await back;
  await run(`${getToken}\n${after}`, /^\{push: message, room: lobby, /);
});
