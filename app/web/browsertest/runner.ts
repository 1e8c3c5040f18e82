import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import type { Cluster } from "./cluster";
import { Person, tellViolations } from "./person";
import { PATIENCE } from "./wait";

type Work = (stage: Stage) => Promise<void>;

interface Check {
  readonly subject: string;
  readonly story: string;
  readonly needs: Needs;
  readonly work: Work;
}

// cluster: kills its parts, so the suite must have started them.
export interface Needs {
  readonly cluster?: true;
}

const checks: Check[] = [];

// subject returns the function that adds checks to a subject.
export const subject =
  (name: string) =>
  (story: string, work: Work, needs: Needs = {}): void => {
    checks.push({ subject: name, story, needs, work });
  };

// A Stage is what one check plays on: people of its own, each in a browser of their own, and
// what their pages complained of.
export class Stage {
  readonly people: Person[] = [];
  readonly #pages: [string, Page][] = [];
  readonly #complaints: string[] = [];
  readonly #transcript: string[] = [];
  static #count = 0;
  readonly id = `${Date.now().toString(36)}${(Stage.#count++).toString(36)}`;

  // rough says that lines are cut and nodes are killed: what browsers say of that is no
  // complaint.
  rough = false;

  readonly cluster: Cluster;
  readonly browser: Browser;
  readonly shots: string;
  readonly #after: (() => unknown)[] = [];

  constructor(cluster: Cluster, browser: Browser, shots: string) {
    this.cluster = cluster;
    this.browser = browser;
    this.shots = shots;
  }

  // name makes a user, or a room, that no other check knows.
  name = (word: string): string => `${word}-${this.id}`;

  // after has something done at the end of the check, whatever comes of it.
  after(work: () => unknown): void {
    this.#after.unshift(work);
  }

  say(line: string): void {
    console.log(`      ${line}`);
  }

  // arrive opens the page for somebody in a room.
  async arrive(word: string, room: string, options: Arrival = {}): Promise<Person> {
    const person = await this.come(word, room, options);
    await person.joined();
    return person;
  }

  // come is arrive for those who may not get in.
  async come(
    word: string,
    room: string,
    { from, token, exactly, prepare, ...context }: Arrival = {},
  ): Promise<Person> {
    const browser = await this.browser.newContext({ ...LOOK, ...context });
    const person = await Person.open(
      browser,
      exactly ? word : this.name(word),
      room,
      from ?? this.cluster.url,
      token,
    );
    this.people.push(person);
    this.watch(person.page, word);
    await prepare?.(person);
    await person.go();
    return person;
  }

  // open shows somebody another page than the chat.
  async open(who: string, url: string, options: BrowserContextOptions = {}): Promise<Page> {
    const context = await this.browser.newContext({ ...LOOK, ...options });
    this.after(() => context.close());
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    await page.addInitScript(tellViolations);
    this.watch(page, who);
    await page.goto(url);
    return page;
  }

  // watch collects what a page complains of.
  watch(page: Page, who: string): void {
    this.#pages.push([who, page]);
    page.on("pageerror", (error) => this.#complaints.push(`${who}: ${error.stack ?? error}`));
    page.on("console", (message) => {
      const line = `${who}: ${message.type()}: ${message.text()} ${message.location().url}`;
      this.#transcript.push(line);
      const network = /^(WebSocket connection to|Failed to load resource:)|net::ERR_/.test(message.text());
      if (message.type() === "error" && !(network && this.rough)) this.#complaints.push(line);
    });
  }

  checkComplaints(): void {
    if (this.#complaints.length)
      throw new Error(`the page complains:\n${[...new Set(this.#complaints)].join("\n")}`);
  }

  // keep leaves behind what can be seen of a failure.
  async keep(story: string): Promise<string> {
    const folder = join(this.shots, `failed-${story.replace(/[^a-z0-9]+/gi, "-").slice(0, 50)}`);
    mkdirSync(folder, { recursive: true });
    for (const [n, [who, page]] of this.#pages.entries()) {
      const name = `${n}-${who.replace(/[^a-z0-9-]+/gi, "_").slice(0, 40)}`;
      await page.screenshot({ path: join(folder, `${name}.png`), timeout: 3_000 }).catch(() => {});
      writeFileSync(join(folder, `${name}.html`), await page.content().catch(String));
    }
    writeFileSync(join(folder, "console.txt"), [...this.#transcript, "", ...this.#complaints, ""].join("\n"));
    return folder;
  }

  async end(): Promise<void> {
    for (const work of this.#after) await work();
    for (const person of this.people) await person.leave();
  }
}

export interface Arrival extends BrowserContextOptions {
  from?: string; // a node, in place of HAProxy
  token?: string; // in place of a name
  exactly?: boolean; // the name as it is, with nothing behind it
  prepare?: (person: Person) => Promise<unknown> | unknown; // before the page is opened
}

// Everybody sees the same, wherever this runs.
export const LOOK: BrowserContextOptions = {
  viewport: { width: 1180, height: 760 },
  locale: "en-GB",
  timezoneId: "Europe/Berlin",
  colorScheme: "light",
  reducedMotion: "reduce",
};

export const launch = (): Promise<Browser> =>
  chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });

// run plays the checks of the subjects named, or all, one after the other, and returns how
// many failed.
export async function run(cluster: Cluster, shots: string, subjects: string[]): Promise<number> {
  const browser = await launch();
  const count = { passed: 0, failed: 0, skipped: 0 };
  let shown = "";
  for (const { subject, story, needs, work } of checks) {
    if (subjects.length && !subjects.includes(subject)) continue;
    if (subject !== shown) console.log(`${subject}:`);
    shown = subject;
    if (needs.cluster && !cluster.state) {
      count.skipped++;
      console.log(`skip  ${story} (it kills parts of a cluster: leave the URL out)`);
      continue;
    }
    const stage = new Stage(cluster, browser, shots);
    const began = Date.now();
    try {
      await work(stage);
      stage.checkComplaints();
      count.passed++;
      console.log(`ok    ${story} (${Date.now() - began} ms)`);
    } catch (error) {
      count.failed++;
      const why = stripVTControlCharacters(error instanceof Error ? error.message : String(error))
        .split("\n")
        .slice(0, 14)
        .map((line) => (line.length > 300 ? `${line.slice(0, 300)}…` : line))
        .join("\n      ");
      console.log(`FAIL  ${story}\n      ${why}\n      see ${await stage.keep(story)}`);
    } finally {
      await stage.end().catch((error) => console.log(`      at its end: ${error}`));
    }
  }
  await browser.close();
  console.log(
    `${count.passed} passed, ${count.failed} failed${count.skipped ? `, ${count.skipped} skipped` : ""}`,
  );
  return count.failed;
}
