// The ten lines of HTML, from a site that is not the cluster's.

import { expect, inject, test } from "vitest";
import { aimed, read } from "./files.js";
import { browser, freshRoom, said, site } from "./harness.js";

const open = browser();
const port = inject("port");
const html = (room: string) => ({
  type: "text/html",
  body: aimed(read("docs/examples/page.html"), port, room),
});

test("it has ten lines", () => {
  expect(read("docs/examples/page.html").trim().split("\n").length).toBeLessThanOrEqual(12);
});

test.each([
  ["as it is", () => {}],
  ["without a WebSocket", () => Reflect.deleteProperty(globalThis, "WebSocket")],
])("two people chat in a browser %s, and who comes later sees what was said", async (_, before) => {
  const room = freshRoom();
  const pagePort = inject("pagePort");
  await site(pagePort, { "/": html(room) });
  const arrive = async () => {
    const page = await open();
    await page.addInitScript(before);
    await page.goto(`http://localhost:${pagePort}/`);
    return page;
  };
  const [alice, bob] = [await arrive(), await arrive()];

  await alice.getByPlaceholder("Say something").fill("<b>hi</b>");
  await alice.keyboard.press("Enter");
  await bob.locator("li", { hasText: "<b>hi</b>" }).waitFor();
  await bob.getByPlaceholder("Say something").fill("hello");
  await bob.keyboard.press("Enter");
  await alice.locator("li", { hasText: "hello" }).waitFor();

  const carol = await arrive();
  await carol.locator("li").nth(1).waitFor();
  const all = await said(room);
  for (const page of [alice, bob, carol]) expect(await page.locator("li").allTextContents()).toEqual(all);
  expect(all).toHaveLength(2);
});

test("a site that the cluster does not know gets no socket", async () => {
  const elsewhere = inject("pagePort") + 1;
  await site(elsewhere, { "/": html(freshRoom()) });
  const page = await open();
  const refused = page.waitForEvent("console", (message) => /403|CORS/.test(message.text()));
  await page.goto(`http://localhost:${elsewhere}/`);
  await refused;
});
