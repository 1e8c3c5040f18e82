// Pictures of the page and of the ring, for README.md and for looking at: a few people talk
// on a real cluster, one of them loses the line, and a node is killed.
//
//   vite-node screenshots.ts http://127.0.0.1:8080 docs/images

import { execFileSync } from "node:child_process";
import { join } from "node:path";
import type { BrowserContextOptions, Page } from "playwright-core";
import { agree } from "./agree";
import { Cluster } from "./cluster";
import type { Person } from "./person";
import { launch, Stage } from "./runner";
import { until } from "./wait";

const [url, folder] = process.argv.slice(2);
if (!url || !folder) throw new Error("usage: screenshots.ts URL FOLDER");
const cluster = new Cluster(url, process.env.CHATRING_STATE);
const browser = await launch();
const stage = new Stage(cluster, browser, folder);
stage.rough = true;

const DESK: BrowserContextOptions = { viewport: { width: 1280, height: 800 } };
const PHONE: BrowserContextOptions = {
  viewport: { width: 390, height: 780 },
  deviceScaleFactor: 1.5,
  isMobile: true,
  hasTouch: true,
};

const taken: string[] = [];
async function take(page: Page, name: string, options: { fullPage?: boolean } = {}): Promise<void> {
  const path = join(folder as string, `${name}.png`);
  await page.mouse.move(0, 0);
  await page.screenshot({ path, animations: "disabled", caret: "hide", ...options });
  taken.push(path);
  console.log(path);
}

const arrive = (name: string, room: string, options: BrowserContextOptions) =>
  stage.arrive(name, room, { ...options, exactly: true });

// ---- Some people of a harbour

const room = "harbour";
const mia = await arrive("mia", room, { ...DESK, colorScheme: "light" });
const ines = await arrive("ines", room, { ...DESK, colorScheme: "dark" });
const theo = await arrive("theo", room, { ...PHONE, colorScheme: "light" });
const everybody = [mia, ines, theo];

for (const text of [
  "Night shift ends. Wind from the west, five to six.",
  "Berth 2 is free again from seven on.",
])
  await cluster.post(`/api/rooms/${room}/messages`, { data: { text }, as: "olaf" });

let said = 2;
async function talk(who: Person, ...lines: string[]): Promise<void> {
  await who.say(...lines);
  said += lines.length;
  await agree(cluster, room, said, ...everybody);
}
await talk(mia, "Morning! The Albatros is in, berth 4.", "Crew of nine, all well.");
await talk(ines, "Saw her from the hill. Who takes the ropes?");
await theo.reply(
  "Saw her from the hill. Who takes the ropes?",
  "Me, in ten minutes. The tide table: https://example.org/tides?day=today",
);
said++;
await agree(cluster, room, said, ...everybody);
await talk(ines, "Good. I bring coffee, then. Four cups?");
await talk(mia, "Five, the pilot stays.");
await mia.edit("Five, the pilot stays.", "Six: the pilot stays, and so does his daughter.");
await talk(
  mia,
  "@theo would you look at the light on the east mole? It blinked twice in a row, and then not at all for a while; the log says 02:14 and 02:31.",
);
await talk(theo, "I can climb up after lunch.");
await talk(ines, "Wear a jacket, it blows up there.");

// ---- Rooms, friends and unread messages beside it

for (const [other, text] of [
  ["tides", "High water at 11:42, 3.9 m."],
  ["ferries", "The 9:15 leaves ten minutes late."],
  ["workshop", "The winch is back from repair."],
]) {
  await mia.openRoom(other as string);
  await mia.joined();
  await mia.say("Hello!");
  await mia.sent();
  await mia.hasRead(other as string);
  if (other !== "workshop")
    await cluster.post(`/api/rooms/${other}/messages`, { data: { text }, as: "olaf" });
}
await mia.openRoom(room);
await mia.joined();
await mia.requestFriend("ines");
await ines.answerFriend("mia", "Accept");
await mia.requestFriend("theo");
await mia.requestFriend("olaf");
await theo.answerFriend("mia", "Accept");
await ines.menuOf("mia", "Send a direct message");
await ines.joined();
await ines.say("Do you have the key of the store?");
await ines.sent();
await ines.openRoom(room);
await ines.joined();
await ines.setStatus("away");
await mia.look();
await until(
  "what is unread is counted",
  async () => (await mia.unread("ferries")) > 0 && (await mia.unread("ines")) > 0,
);
await cluster.post("/api/users/mia/notifications", {
  data: { text: "Your shift on Sunday has been confirmed." },
});

// ---- The page

await mia.panel("people");
await mia.page.getByTestId("toast").first().waitFor({ state: "detached" });
await theo.composer().pressSequentially("Will");
await mia.typing("theo").waitFor();
await take(mia.page, "page-light");
await ines.panel("people");
await take(ines.page, "page-dark");
await mia.panel("friends");
await take(mia.page, "friends");
await theo.composer().fill("");
if (await theo.page.locator("#panel").isVisible()) await theo.closePanel();
await take(theo.page, "phone-light");
await theo.page.emulateMedia({ colorScheme: "dark" });
await take(theo.page, "phone-dark");

ines.line.cut();
await ines.counting();
await ines.say("Coffee is ready, come down.");
await take(ines.page, "offline");
await ines.line.open();
await ines.joined();

// ---- The ring, while others talk in rooms of all nodes

const home = await cluster.home(room);
const asked = cluster.nodes.find((n) => cluster.shard(n) !== home) as number;
const ring = async (options: BrowserContextOptions): Promise<Page> => {
  const page = await stage.open("operator", `${cluster.ops(asked)}/ring/#${room}`, { ...DESK, ...options });
  await page.getByText("by its hash").waitFor();
  return page;
};
const light = await ring({ colorScheme: "light" });
const dark = await ring({ colorScheme: "dark" });
const bots = await stage.open("bots", `${cluster.url}/#quays`);
const sdk = await bots.evaluateHandle<typeof import("../sdk/src/index")>('import("/sdk/chat.js")');
await sdk.evaluate(
  async ({ Chat }, rooms) => {
    for (const [i, name] of rooms.entries()) {
      for (let bot = 0; bot < 6; bot++) {
        const quay = new Chat(undefined, { user: `buoy-${i}-${bot}` }).room(name, { dedicated: true });
        await quay.join();
        const talk = () => quay.send(`swell ${Math.round(Math.random() * 30) / 10} m`).catch(() => {});
        setInterval(() => Math.random() < 0.3 + 0.1 * i && talk(), 400);
      }
    }
  },
  await Promise.all(cluster.nodes.map((n) => cluster.roomAt(cluster.shard(n), "quay"))),
);

// What the plots draw takes time to happen.
const pass = (seconds: number) => new Promise((done) => setTimeout(done, seconds * 1000));
const whole = { fullPage: true };
await pass(45);
await take(light, "ring-light", whole);
await take(dark, "ring-dark", whole);
cluster.kill(`ws${cluster.nodes.find((n) => cluster.shard(n) === home)}`);
for (const page of [light, dark]) await page.getByText(`3 of ${cluster.nodes.length}`).waitFor();
for (const page of [light, dark]) await page.getByText("moved", { exact: true }).waitFor();
await pass(10);
await take(light, "ring-down-light", whole);
await take(dark, "ring-down-dark", whole);

await browser.close();
// Few colours, and so few bytes.
const small = [
  "--force",
  "--ext",
  ".png",
  "--skip-if-larger",
  "--nofs",
  "--quality",
  "65-90",
  "--speed",
  "1",
];
execFileSync("pngquant", [...small, ...taken]);

process.exit(0); // lines are still open
