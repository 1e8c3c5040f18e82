import assert from "node:assert/strict";
import type { BrowserContextOptions, Locator, Page } from "playwright-core";
import { accessible } from "./looks";
import { type Stage, subject } from "./runner";
import { PATIENCE, until } from "./wait";

const add = subject("ring");
const check = (story: string, work: (stage: Stage) => Promise<void>) => add(story, work, { cluster: true });

const PROMISED_MS = 2_000; // until a killed node is shown
const FAILS_MS = 10_000; // a slow machine is no fault of the page

const open = (stage: Stage, node: number, options: BrowserContextOptions = {}, hash = ""): Promise<Page> =>
  stage.open("operator", `${stage.cluster.ops(node)}/ring/${hash}`, options);

const row = (page: Page, shard: string): Locator =>
  page.getByRole("row").filter({ has: page.getByRole("rowheader", { name: shard, exact: true }) });
const state = (page: Page, shard: string): Promise<string | null> =>
  row(page, shard).locator(".state").textContent();
const fact = (page: Page, name: string): Promise<string | null> =>
  page.locator("dl > div").filter({ hasText: name }).locator("dd").textContent();
const allOn = (stage: Stage, page: Page): Promise<unknown> =>
  until("all nodes are on the ring", async () => {
    const n = stage.cluster.nodes.length;
    return (await fact(page, "On the ring")) === `${n} of ${n}`;
  });
const happened = (page: Page, shard: string): Locator =>
  page.getByRole("log").getByRole("listitem").filter({ hasText: shard });

async function look(page: Page, room: string): Promise<string> {
  await page.getByLabel("Where is the room").fill(room);
  await page.getByRole("button", { name: "Find" }).click();
  const answer = page.locator(".answer, .wrong").first();
  await answer.waitFor();
  return (await answer.textContent()) ?? "";
}

check("all nodes stand there with their shares, and what they do", async (stage) => {
  const { cluster } = stage;
  const page = await open(stage, 1);
  await allOn(stage, page);
  let sum = 0;
  for (const n of cluster.nodes) {
    await until(`node ${n} is well`, async () => (await state(page, cluster.shard(n))) === "on the ring");
    sum += Number.parseFloat((await row(page, cluster.shard(n)).locator(".share").textContent()) ?? "0");
  }
  assert.ok(Math.abs(sum - 100) < 0.5, `the shares are ${sum} % together`);
  const room = await cluster.roomAt(cluster.shard(2), stage.name("room"));
  const members = async () =>
    Number.parseFloat(
      (await row(page, cluster.shard(2)).locator("[data-label=Members]").textContent()) ?? "0",
    );
  await until("who was there before has gone", async () => (await members()) === 0, 3 * PATIENCE);
  await stage.arrive("alice", room);
  await stage.arrive("bob", room);
  await until("two members are counted", async () => (await members()) >= 2);
});

check("a room is found where HAProxy has it, and why; one that cannot be is refused", async (stage) => {
  const { cluster } = stage;
  const page = await open(stage, 2);
  await allOn(stage, page);
  for (const n of cluster.nodes) {
    const room = await cluster.roomAt(cluster.shard(n), stage.name("room"));
    const said = await look(page, room);
    assert.match(said, /by its hash/);
    assert.ok(said.includes(cluster.shard(n)), said);
    await page.getByLabel("Where is the room").press("Escape");
  }
  await page.getByLabel("Where is the room").blur(); // what is being typed stays
  const named = await cluster.roomAt(cluster.shard(1), stage.name("named"));
  await page.evaluate((room) => {
    location.hash = room;
  }, named);
  await page.locator(".answer").filter({ hasText: named }).waitFor();
  assert.equal(await page.getByLabel("Where is the room").inputValue(), named, "the field, by the address");
  stage.rough = true; // the refusal is a 400
  await look(page, `<img src=x onerror="window.hit=1">`);
  await page.locator(".wrong").waitFor();
  assert.equal(await page.evaluate("window.hit"), undefined);
  assert.equal(await page.locator("img[onerror]").count(), 0);
});

check(
  "a killed node is shown within two seconds, and its rooms are moved; one that is back is shown too",
  async (stage) => {
    stage.rough = true;
    const { cluster } = stage;
    const room = await cluster.roomAt(cluster.shard(3), stage.name("room"));
    const page = await open(stage, 1);
    await allOn(stage, page);
    // The page itself notes when it shows it: this process may be busy.
    await page.evaluate((shard) => {
      const look = () => {
        const node = [...document.querySelectorAll("tr")].find(
          (r) => r.querySelector("th")?.textContent === shard,
        );
        if (node?.querySelector(".state.bad")) Object.assign(window, { shownAt: Date.now() });
        else requestAnimationFrame(look);
      };
      look();
    }, cluster.shard(3));
    stage.after(() => cluster.start("ws3"));
    const killed = Date.now();
    cluster.kill("ws3");
    const shown = (await until("the page shows it", () => page.evaluate("window.shownAt"))) as number;
    const took = shown - killed;
    stage.say(`the kill is shown after ${took} ms`);
    if (took > PROMISED_MS)
      stage.say(`later than the ${PROMISED_MS} ms that are promised on a quiet machine`);
    assert.ok(took < FAILS_MS, `${took} ms`);
    await happened(page, cluster.shard(3)).first().waitFor();
    const n = cluster.nodes.length;
    await until(
      "HAProxy has it off the ring",
      async () => (await fact(page, "On the ring")) === `${n - 1} of ${n}`,
    );
    assert.match(await look(page, room), /moved/);
    await cluster.start("ws3");
    await allOn(stage, page);
  },
);

check(
  "Redis is lost: the page says so, and still works; it is back: the page says that, too",
  async (stage) => {
    stage.rough = true;
    const { cluster } = stage;
    const page = await open(stage, 1);
    await allOn(stage, page);
    cluster.kill("redis");
    stage.after(() => cluster.start("redis").catch(() => {})); // it may run already
    await until("the page says that Redis is lost", async () =>
      /lost/.test((await fact(page, "Redis")) ?? ""),
    );
    await accessible(page, "without Redis");
    assert.match(await look(page, stage.name("room")), /by its hash/);
    await cluster.start("redis");
    await until("the page says that Redis is back", async () =>
      /heard by all/.test((await fact(page, "Redis")) ?? ""),
    );
    await page.getByRole("log").getByText(/Redis/).first().waitFor();
  },
);

check("a page whose own node is dead says that it is stale, and names the others", async (stage) => {
  stage.rough = true;
  const { cluster } = stage;
  const page = await open(stage, 2);
  await allOn(stage, page);
  stage.after(() => cluster.start("ws2"));
  cluster.kill("ws2");
  const alert = page.getByRole("alert");
  await alert.getByText(/has not answered/).waitFor();
  await accessible(page, "stale");
  await alert.getByRole("link", { name: cluster.shard(1) }).click();
  await until("another node shows the ring", async () => page.url().startsWith(cluster.ops(1)));
  await until(
    "it says that this one is silent",
    async () => (await state(page, cluster.shard(2))) === "silent",
  );
});

for (const [what, options] of [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["a phone's width", { viewport: { width: 360, height: 640 }, isMobile: true, hasTouch: true }],
] as [string, BrowserContextOptions][])
  check(`axe finds nothing wrong with the ring, and nothing is too wide: ${what}`, async (stage) => {
    const page = await open(stage, 1, options);
    await allOn(stage, page);
    await look(page, "lobby");
    await page.locator("canvas").first().waitFor();
    await accessible(page, "the ring");
    const [wide, width] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok((wide ?? 0) <= (width ?? 0), `${wide} px wide, of ${width}`);
  });
