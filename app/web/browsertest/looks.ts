import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Page } from "playwright-core";
import { agree } from "./agree";
import type { Person } from "./person";
import { type Arrival, type Stage, subject } from "./runner";
import { until } from "./wait";

const check = subject("looks");

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// accessible: axe finds nothing wrong with what the page shows at this moment.
export async function accessible(page: Page, what: string): Promise<void> {
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    // biome-ignore lint/suspicious/noExplicitAny: axe is put there by the line above
    const { violations } = await (globalThis as any).axe.run(document, { resultTypes: ["violations"] });
    return (
      violations as {
        id: string;
        impact: string;
        help: string;
        nodes: { html: string; failureSummary?: string }[];
      }[]
    ).map(
      ({ id, impact, help, nodes }) =>
        `${impact}: ${id}: ${help}\n  ${nodes
          .slice(0, 3)
          .map((n) => `${n.html.slice(0, 200)} ${n.failureSummary ?? ""}`)
          .join("\n  ")}`,
    );
  });
  assert.ok(!found.length, `${what}: axe finds\n${found.join("\n")}`);
}

// scene is a conversation with everything that a page can show.
async function scene(stage: Stage, options: Arrival): Promise<Person> {
  const room = stage.name("harbour");
  const [mia, theo] = [await stage.arrive("mia", room, options), await stage.arrive("theo", room)];
  await mia.say("Morning! The Albatros is in, berth 4.", "See https://example.org/tides");
  await theo.say("I take the ropes.");
  await theo.reply("Morning! The Albatros is in, berth 4.", "Crew of nine?");
  await agree(stage.cluster, room, 4, theo);
  await theo.edit("I take the ropes.", "I take the ropes, at ten.");
  await theo.delete("Crew of nine?");
  await mia.deleted().waitFor();
  return mia;
}

const PHONE: Arrival = {
  viewport: { width: 360, height: 640 },
  isMobile: true,
  hasTouch: true,
  deviceScaleFactor: 2,
};

for (const [what, options] of [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["a phone's width, light", { ...PHONE, colorScheme: "light" }],
  ["a phone's width, dark", { ...PHONE, colorScheme: "dark" }],
] as [string, Arrival][])
  check(`axe finds nothing wrong, and nothing is too wide: ${what}`, async (stage) => {
    const mia = await scene(stage, options);
    const width = options.viewport?.width ?? 1180;
    const look = async (what: string) => {
      await accessible(mia.page, what);
      assert.ok((await mia.width()) <= width, `${what}: ${await mia.width()} px wide, of ${width}`);
    };
    await look("the conversation");
    for (const panel of ["people", "friends", "notifications"] as const) {
      await mia.panel(panel);
      await look(panel);
      await mia.closePanel();
    }
    await mia.openSettings();
    await look("who you are");
    await mia.page.keyboard.press("Escape");
  });

check("axe finds nothing wrong while the page is offline and a message waits", async (stage) => {
  stage.rough = true;
  for (const colorScheme of ["light", "dark"] as const) {
    const bob = await stage.arrive("bob", stage.name("room"), { colorScheme });
    bob.line.cut();
    await bob.counting();
    await bob.say("waits");
    await accessible(bob.page, `offline, ${colorScheme}`);
    await bob.leave();
  }
});

check("without a mouse: go to a room, write, answer, edit, delete, and find the way out", async (stage) => {
  const room = stage.name("room");
  const [alice, bob] = [
    await stage.arrive("alice", stage.name("elsewhere")),
    await stage.arrive("bob", room),
  ];
  const { keyboard } = alice.page;
  await bob.say("hello?");
  await bob.sent();
  await alice.tabTo("Room");
  await keyboard.type(room);
  await keyboard.press("Enter");
  await alice.shows("hello?");
  await keyboard.type("hello, bob"); // opening a room leads to the field
  await keyboard.press("Enter");
  await bob.shows("hello, bob");
  await alice.byKeys("hello?", "Reply");
  await keyboard.type("an answer");
  await keyboard.press("Enter");
  await bob.row("an answer").getByText("hello?").waitFor();
  await alice.byKeys("hello, bob", "Edit");
  await keyboard.press("End");
  await keyboard.type("!");
  await keyboard.press("Enter");
  await bob.shows("hello, bob!");
  await alice.byKeys("hello, bob!", "Delete");
  await alice.tabTo("Delete");
  await keyboard.press("Enter");
  await bob.deleted().waitFor();
});

check("a screen reader finds the log, the field, the state and the rooms by role and name", async (stage) => {
  const room = stage.name("room");
  const alice = await stage.arrive("alice", room);
  await alice.say("can you hear me?");
  await agree(stage.cluster, room, 1, alice);
  const tree = await alice.page.locator("body").ariaSnapshot();
  for (const line of [
    /- log "Messages/,
    /can you hear me\?/,
    /- textbox "Message"/,
    /- button "Send"/,
    /- status/,
    /- navigation "Rooms"/,
    /- heading /,
    /- main/,
  ])
    assert.match(tree, line, tree);
  // While a page of old messages comes in, the log keeps quiet.
  await until("the log is read out", async () => (await alice.log().getAttribute("aria-live")) === "polite");
});
