// The React hook, in strict mode, with React as it is.

import { execSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { aimed, blocks, root } from "./files.js";
import { browser, freshRoom, present, say, site, until } from "./harness.js";

const open = browser();
const port = inject("port");
const pagePort = inject("pagePort");

// Where the package is installed, as the README says.
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "react-"));
  const [install = ""] = blocks("docs/examples/README.md", "React").map((text) => aimed(text, port, ""));
  execSync(install.replace(/^\$ /, ""), { cwd: folder });
});
afterAll(() => rmSync(folder, { recursive: true }));

// The page shows the rooms that show() is told, each as often as it is named.
const app = `
  import { StrictMode } from "react";
  import { createRoot } from "react-dom/client";
  import { Chat } from "chatring";
  import { RoomView, useRoom } from "${root}/docs/examples/useRoom.tsx";

  globalThis.chat = new Chat("http://localhost:${port}", { user: "alice" });
  const Positions = ({ name }) => <output>{useRoom(chat, name).messages.map(({ pos }) => pos).join()}</output>;
  const react = createRoot(document.getElementById("app"));
  globalThis.show = (...rooms) =>
    react.render(<StrictMode>{rooms.map((name, i) => <div key={i}><RoomView chat={chat} name={name} /><Positions name={name} /></div>)}</StrictMode>);
`;

/** A page with the app, and the commands that it sends, and what it complains about. */
async function start(...rooms: string[]): Promise<{ page: Page; sent: string[] }> {
  const { outputFiles } = await build({
    stdin: { contents: app, loader: "tsx", resolveDir: `${root}/app/web` },
    nodePaths: [join(folder, "node_modules"), `${root}/app/web/node_modules`],
    jsx: "automatic",
    define: { "process.env.NODE_ENV": '"development"' }, // where strict mode mounts twice
    format: "esm",
    bundle: true,
    write: false,
  });
  await site(pagePort, {
    "/": {
      type: "text/html",
      body: '<!doctype html><div id="app"></div><script type="module" src="app.js"></script>',
    },
    "/app.js": { type: "text/javascript", body: outputFiles[0]?.text ?? "" },
  });
  const page = await open();
  const sent: string[] = [];
  page.on("websocket", (socket) => {
    sent.push(new URL(socket.url()).pathname.replace("/ws/chat/", "join ")); // the room of the address is joined
    socket.on("framesent", ({ payload }) => {
      const { cmd, room } = JSON.parse(String(payload));
      sent.push(`${cmd} ${room ?? ""}`);
    });
  });
  page.on("pageerror", (error) => sent.push(String(error)));
  page.on("console", (message) => message.type() === "error" && sent.push(message.text()));
  await page.goto(`http://localhost:${pagePort}/`);
  await show(page, ...rooms);
  return { page, sent };
}

const show = (page: Page, ...rooms: string[]) =>
  page.evaluate(
    (names) => (globalThis as unknown as { show: (...rooms: string[]) => void }).show(...names),
    rooms,
  );
const lines = (page: Page, nth = 0) => page.locator("ul").nth(nth).locator("li").allTextContents();
const shown = (page: Page, text: string, nth = 0) =>
  page.locator("ul").nth(nth).locator("li", { hasText: text }).waitFor();

test("a component joins once, shows each message once, and says something", async () => {
  const room = freshRoom();
  await say(room, "bob", "before");
  const { page, sent } = await start(room);
  await shown(page, "bob: before");
  await page.getByLabel("Message").fill("hi");
  await page.keyboard.press("Enter");
  await shown(page, "alice: hi");
  await say(room, "bob", "after");
  await shown(page, "bob: after");

  expect(await lines(page)).toEqual(["bob: before", "alice: hi", "bob: after"]);
  expect(await present(room)).toEqual(["alice 1"]);
  expect(sent.filter((each) => !/^(history|publish) /.test(each))).toEqual([`join ${room}`]);
});

test("an edit and a deletion change what is shown", async () => {
  const room = freshRoom();
  const { page } = await start(room);
  for (const text of ["one", "two"]) {
    await page.getByLabel("Message").fill(text);
    await page.keyboard.press("Enter");
    await shown(page, `alice: ${text}`);
  }
  await page.evaluate(async (name) => {
    const { chat } = globalThis as unknown as { chat: import("chatring").Chat };
    const { messages } = await chat.room(name).history();
    await chat.room(name).edit(messages[0]?.pos ?? "", { text: "uno" });
    await chat.room(name).delete(messages[1]?.pos ?? "");
  }, room);
  await shown(page, "alice: uno");
  await shown(page, "alice: (deleted)");
  expect(await lines(page)).toHaveLength(2);
});

test("two components share a room, and the last one to go leaves it", async () => {
  const [room, other] = [freshRoom(), freshRoom()];
  const { page } = await start(room, room);
  await say(room, "bob", "hi");
  await shown(page, "bob: hi", 0);
  await shown(page, "bob: hi", 1);

  await show(page, room);
  await say(room, "bob", "still there?");
  await shown(page, "bob: still there?");
  expect(await present(room)).toEqual(["alice 1"]);

  await show(page, other);
  await until(`that alice leaves ${room}`, async () => (await present(room)).length === 0);
  await say(room, "bob", "while nobody looked");
  await show(page, room);
  await shown(page, "while nobody looked");
  expect(await lines(page)).toEqual(["bob: hi", "bob: still there?", "bob: while nobody looked"]);
  expect(await present(room)).toEqual(["alice 1"]);
  await until(`that alice leaves ${other}`, async () => (await present(other)).length === 0);
});

test("a gap is shown, and a message that has moved is the same one, elsewhere", async () => {
  const { page } = await start(freshRoom());
  // No healthy cluster makes these, so a room that is none does.
  await page.evaluate(() => {
    const listeners: Record<string, (detail: unknown) => void> = {};
    const room = {
      name: "none",
      state: "joined",
      pending: [],
      on: (event: string, listener: () => void) => {
        listeners[event] = listener;
        return () => {};
      },
      join: async () => {},
      leave: async () => {},
    };
    Object.assign(globalThis, {
      chat: { room: () => room },
      emit: (event: string, detail: unknown) => listeners[event]?.(detail),
    });
  });
  await show(page, "none");
  const emit = (event: string, detail: unknown) =>
    page.evaluate(
      ([name, what]) => (globalThis as unknown as { emit: (...args: unknown[]) => void }).emit(name, what),
      [event, detail] as const,
    );
  const message = (n: number) => ({
    from: "bob",
    key: `k${n}`,
    ts: n,
    pos: `1-${n}`,
    data: { text: `say ${n}` },
  });

  await emit("message", message(1));
  await emit("gap", { after: "1-1", before: "1-5" });
  await emit("message", message(5));
  await emit("message", message(6));
  await emit("moved", { ...message(5), pos: "2-0" });
  const target = { ...message(5), pos: "2-0" };
  await emit("change", { kind: "edit", target, by: "bob", pos: "2-1", ts: 9, data: { text: "say V" } });
  await shown(page, "say V");
  expect(await page.locator("output").textContent()).toBe("1-1,2-0,1-6");
  expect(await lines(page)).toEqual(["bob: say 1", "Messages are missing here. bob: say V", "bob: say 6"]);
});
