// Real browsers on the chat page: people talk, lines are cut, pages are
// reloaded, and every message must stand on every screen once and in one order.
//
//   node chat.mjs http://127.0.0.1:8080 build/screenshots
//
// PLAYWRIGHT names the folder in which playwright-core is installed, CHROMIUM
// the browser, FRESH a server that has no rooms yet. scripts/test-browser sets
// them.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import net from "node:net";
import { resolve } from "node:path";

const [base, shots] = [new URL(process.argv[2]), resolve(process.argv[3] ?? "build/screenshots")];
const { chromium } = createRequire(resolve(process.env.PLAYWRIGHT ?? ".", "require.js"))("playwright-core");
const run = Date.now().toString(36);
mkdirSync(shots, { recursive: true });

setTimeout(() => {
  console.log(`not done after 85 s\n${passed} passed, ${failed + 1} failed`);
  process.exit(1);
}, 85_000).unref();

// A Line stands between one browser and the server, and can be cut.
class Line {
  #pairs = new Set();
  #server;
  #port = 0;
  deaf = false; // swallow what the server says

  async open() {
    this.deaf = false;
    this.#server = net.createServer((near) => {
      const far = net.connect(Number(base.port || 80), base.hostname);
      const pair = [near, far];
      this.#pairs.add(pair);
      near.on("data", (bytes) => far.write(bytes));
      far.on("data", (bytes) => this.deaf || near.write(bytes));
      for (const socket of pair) {
        socket.on("error", () => {});
        socket.on("close", () => {
          pair.forEach((each) => each.destroy());
          this.#pairs.delete(pair);
        });
      }
    });
    await new Promise((done) => this.#server.listen(this.#port, "127.0.0.1", done));
    this.#port = this.#server.address().port;
  }

  cut() {
    this.#server.close();
    for (const pair of this.#pairs) pair.forEach((socket) => socket.destroy());
  }

  get url() {
    return `http://127.0.0.1:${this.#port}/`;
  }
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

const complaints = []; // errors on any page that no cut line explains
const people = [];

// arrive opens the page for somebody, over a line of their own.
async function arrive(name, room, options = {}) {
  const line = new Line();
  await line.open();
  const context = await browser.newContext({ viewport: { width: 1180, height: 760 }, locale: "en-GB", ...options });
  const page = await context.newPage();
  const person = { name, line, page, context };
  people.push(person);
  page.setDefaultTimeout(6_000);
  page.on("pageerror", (error) => complaints.push(`${name}: ${error}`));
  page.on("console", (message) => {
    const network = /^(WebSocket connection to|Failed to load resource:)/.test(message.text());
    if (message.type() === "error" && !(network && person.offline)) complaints.push(`${name}: ${message.text()}`);
  });
  await page.addInitScript((stored) => {
    if (stored && !sessionStorage.getItem("chatring.name")) sessionStorage.setItem("chatring.name", stored);
    document.addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
  }, name);
  await page.goto(`${line.url}#${room}`);
  await connected(person);
  return person;
}

const connected = ({ page }) => page.locator("#dot.joined").waitFor();
const texts = ({ page }) => page.locator("#log .row .text").allTextContents();
const sent = ({ page }) => page.waitForFunction(() => !document.querySelector("#log .row.pending"));

// say types the first line, and hands in further ones as fast as a page can
// take them: what is tried here is the wire, not the keyboard.
async function say({ page }, first, ...more) {
  const field = page.getByLabel("Message", { exact: true });
  await field.fill(first);
  await field.press("Enter");
  await field.evaluate(async (input, lines) => {
    for (const line of lines) {
      input.value = line;
      input.form.requestSubmit();
      await new Promise((done) => setTimeout(done, 10));
    }
  }, more);
}

// agree waits until all see the same messages, and returns them.
async function agree(count, ...all) {
  for (const { page, name } of all) {
    await page
      .waitForFunction((n) => document.querySelectorAll("#log .row").length >= n && !document.querySelector("#log .row.pending"), count)
      .catch(async () => assert.fail(`${name} sees ${(await texts({ page })).length} messages, want ${count}`));
  }
  await new Promise((done) => setTimeout(done, 150)); // for one too many to arrive
  const seen = await Promise.all(all.map(texts));
  for (const each of seen) {
    assert.deepEqual(each, seen[0], "all see the same order");
    assert.equal(each.length, count, `messages: ${each.join(" | ")}`);
  }
  return seen[0];
}

let passed = 0;
let failed = 0;

async function check(story, work) {
  const began = Date.now();
  try {
    await work();
    passed++;
    console.log(`ok    ${story} (${Date.now() - began} ms)`);
  } catch (error) {
    failed++;
    console.log(`FAIL  ${story}\n      ${String(error.message ?? error).replaceAll("\n", "\n      ")}`);
  }
}

const numbered = (word, n) => Array.from({ length: n }, (_, i) => `${word} ${i + 1}`);
const inOrder = (all, mine) => assert.deepEqual(all.filter((text) => mine.includes(text)), mine, "a sender's own order");

// The stories. The later ones build on the room of the first.

const room = `browser-${run}`;
let alice, bob, carol;

await check("two tabs of one browser are two people who can talk at once", async () => {
  const context = await browser.newContext();
  const pages = [await context.newPage(), await context.newPage()];
  for (const page of pages) {
    await page.goto(base.href);
    await connected({ page });
  }
  const names = await Promise.all(pages.map((page) => page.locator("#name").inputValue()));
  assert.notEqual(names[0], names[1]);
  assert.equal(await pages[0].locator("#room").inputValue(), "lobby");
  await say({ page: pages[0] }, `hello from ${run}`);
  await pages[1].getByText(`hello from ${run}`).waitFor();
  await context.close();
});

await check("two people chat both ways, in one order, and see who is there", async () => {
  [alice, bob] = [await arrive("alice", room), await arrive("bob", room)];
  const [hers, his] = [numbered("alice", 10), numbered("bob", 10)];
  await Promise.all([say(alice, ...hers), say(bob, ...his)]);
  const all = await agree(20, alice, bob);
  inOrder(all, hers);
  inOrder(all, his);
  for (const { page } of [alice, bob]) {
    await page.locator("#users li", { hasText: "alice" }).waitFor();
    await page.locator("#users li", { hasText: "bob" }).waitFor();
  }
});

await check("an own message shows its place in the log, and the footer the node", async () => {
  assert.match(await alice.page.locator("#log .row.mine .fate").last().textContent(), /^✓ #\d+$/);
  assert.match(await alice.page.locator("footer").innerText(), new RegExp(`room ${room} is served by node \\S+`));
});

await check("who is writing is shown, and no longer after the message", async () => {
  await bob.page.getByLabel("Message", { exact: true }).pressSequentially("hm");
  await alice.page.getByText("bob is writing…").waitFor();
  await bob.page.getByLabel("Message", { exact: true }).press("Enter");
  await agree(21, alice, bob);
  assert.equal(await alice.page.locator("#typing").textContent(), "");
});

const hostile = [
  `<img src=x onerror="window.hit=1">`,
  `<script>window.hit=1</script>`,
  `"><svg/onload=window.hit=1>`,
  "javascript:window.hit=1 https://example.com/?q=<b>",
  "\u202Edesrever \u2066isolate",
  "W".repeat(600),
  "Z" + "\u0336\u0347\u0310\u0489".repeat(500),
  "שלום עולם, hello",
];

await check("markup, scripts and odd text stand there as text", async () => {
  await say(bob, ...hostile);
  const all = await agree(21 + hostile.length, alice, bob);
  assert.deepEqual(all.slice(-hostile.length), hostile);
  await alice.page.screenshot({ path: `${shots}/odd-text.png` });
  for (const { page } of [alice, bob]) {
    assert.equal(await page.evaluate(() => window.hit), undefined);
    assert.equal(await page.locator("#log img, #log script, #log svg").count(), 0);
    assert.deepEqual(await page.locator("#log a").evaluateAll((links) => links.map((a) => [a.protocol, a.rel])), [["https:", "noopener noreferrer nofollow"]]);
  }
});

await check("a hostile name is a name", async () => {
  const eve = await arrive("<img/src=x/onerror=window.hit=1>", room);
  await say(eve, "boo");
  await agree(22 + hostile.length, alice, bob, eve);
  assert.equal(await alice.page.evaluate(() => window.hit), undefined);
  await eve.context.close();
  await alice.page.locator("#users li", { hasText: "onerror" }).waitFor({ state: "detached" });
});

await check("nothing is wider than a phone", async () => {
  await bob.page.setViewportSize({ width: 360, height: 640 });
  const [wide, log] = await bob.page.evaluate(() => [document.documentElement.scrollWidth, document.querySelector("#scroller").scrollWidth]);
  assert.ok(wide <= 360 && log <= 360, `page ${wide}, messages ${log}`);
  await bob.page.setViewportSize({ width: 1180, height: 760 });
});

await check("a name or room that cannot be does not leave the page", async () => {
  const { page } = alice;
  for (const [label, wrong] of [["Name", "bell\u0007"], ["Name", "\u202Eevil"], ["Room", "a/b"], ["Room", "-"]]) {
    const field = page.getByLabel(label, { exact: true });
    const right = await field.inputValue();
    await field.fill(wrong);
    await field.press("Enter");
    assert.notEqual(await field.evaluate((input) => input.validationMessage), "", `${label} ${wrong}`);
    await field.fill(right);
  }
  assert.equal(await page.locator("#dot.joined").count(), 1);
});

await check("why a server refuses is said, and asked for a token it takes one", async () => {
  const zoe = await arrive("zoe", room);
  zoe.offline = true;
  const refusal = { status: 401, json: { error: { code: "unauthorized", message: "a token is needed" } } };
  await zoe.page.route("**/ws/chat/**", (route) => route.fulfill(refusal)); // plain requests only
  zoe.line.cut();
  await zoe.page.locator("#dot.closed").waitFor();
  assert.equal(await zoe.page.locator("#notice-text").textContent(), "a token is needed");
  assert.equal(await zoe.page.evaluate(() => document.activeElement.id), "token");
  await zoe.context.close();
});

let count = 22 + hostile.length;

await check("a reload in the middle of a burst loses nothing", async () => {
  const burst = numbered("burst", 15);
  const writing = say(alice, ...burst);
  await bob.page.getByText("burst 5", { exact: true }).waitFor();
  await bob.page.reload();
  await writing;
  count += 15;
  inOrder(await agree(count, alice, bob), burst);
});

await check("a cut line is said; what was written meanwhile arrives once", async () => {
  bob.offline = true;
  bob.line.cut();
  await bob.page.getByText(/Next try in \d+ s/).waitFor();
  assert.equal(await bob.page.locator("#state").textContent(), "Reconnecting");
  await bob.page.screenshot({ path: `${shots}/reconnecting.png` });
  const [hers, his] = [numbered("while bob is away", 5), numbered("written without a line", 3)];
  await Promise.all([say(alice, ...hers), say(bob, ...his)]);
  assert.equal(await bob.page.locator("#log .row.pending").count(), 3);
  await bob.line.open();
  await connected(bob);
  count += 8;
  const all = await agree(count, alice, bob);
  inOrder(all, hers);
  inOrder(all, his);
});

await check("a lost answer does not double a message", async () => {
  bob.line.deaf = true;
  await say(bob, "did you hear me?");
  await alice.page.getByText("did you hear me?").waitFor();
  assert.equal(await bob.page.locator("#log .row.pending").count(), 1);
  bob.line.cut();
  await bob.line.open();
  await bob.page.locator("#dot:not(.joined)").waitFor();
  await bob.page.locator("#retry").click();
  await connected(bob);
  await agree(++count, alice, bob);
});

await check("a message without an answer survives a reload", async () => {
  bob.line.deaf = true;
  await say(bob, "still here after a reload");
  await alice.page.getByText("still here after a reload").waitFor();
  bob.line.cut();
  await bob.line.open();
  await bob.page.reload();
  await connected(bob);
  bob.offline = false;
  await agree(50, bob); // the newest page
  const hers = await texts(alice);
  assert.equal(hers.length, ++count);
  assert.deepEqual(await texts(bob), hers.slice(-50));
});

await check("whoever comes later reads what was, and older pages on demand", async () => {
  const many = numbered("many", 40);
  await say(alice, ...many);
  await sent(alice);
  count += 40;
  carol = await arrive("carol", room);
  assert.equal((await agree(50, carol)).length, 50);
  while (await carol.page.locator("#older").isVisible()) {
    const before = await carol.page.locator("#log .row").count();
    await carol.page.locator("#older").click();
    await carol.page.waitForFunction((n) => document.querySelectorAll("#log .row").length > n, before);
  }
  await agree(count, alice, carol);
  await carol.page.getByText(/This is where .* begins/).waitFor();
});

await check("another room is another conversation, and its link leads there", async () => {
  await carol.page.locator("#room").fill(`${room}-2`);
  await carol.page.locator("#room").press("Enter");
  await connected(carol);
  await carol.page.getByText("Nobody has said anything here yet.").waitFor();
  assert.equal(new URL(carol.page.url()).hash, `#${room}-2`);
  await carol.page.evaluate((hash) => (location.hash = hash), room);
  await carol.page.getByText("many 40", { exact: true }).waitFor();
});

await check("after a reset a message comes again once, and another one may have its position", async () => {
  const shown = await alice.page.evaluate(async () => {
    const { Timeline } = await import("/static/timeline.js");
    const line = new Timeline();
    const heard = (pos, from, key) => line.add({ pos, from, key, data: key });
    heard("7-0", "ada", "a1");
    heard("7-1", "ada", "a2"); // lost, and its position given to somebody else
    heard("7-1", "ben", "b1");
    heard("8-0", "ada", "a2"); // healed
    return line.items.map(({ pos, key }) => `${pos} ${key}`);
  });
  assert.deepEqual(shown, ["7-0 a1", "7-1 a2", "7-1 b1"]);
});

await check("an edit and a deletion change the message that they are about", async () => {
  const erin = await arrive("erin", `${room}-edits`);
  await say(erin, "teh first", "the second");
  await agree(2, erin);
  // The page has no button for it: another session of hers does it.
  await erin.page.evaluate(async (name) => {
    const socket = new WebSocket(`${location.origin.replace("http", "ws")}/ws/chat/${name}?user=erin`, ["chatring.v1"]);
    const answers = new Map();
    socket.onmessage = ({ data }) => answers.get(JSON.parse(data).id)?.(JSON.parse(data));
    const ask = (id, command) => new Promise((done) => answers.set(id, done) && socket.send(JSON.stringify({ id, room: name, ...command })));
    await new Promise((done) => (socket.onopen = done));
    const { ok } = await ask(1, { cmd: "history" });
    await ask(2, { cmd: "edit", pos: ok.messages[0].pos, data: { text: "the first" } });
    await ask(3, { cmd: "delete", pos: ok.messages[1].pos });
    await ask(4, { cmd: "edit", pos: ok.messages[0].pos, data: { text: "the very first" } });
  }, `${room}-edits`);
  const want = ["the very first edited", "deleted"];
  await erin.page.getByText("the very first").waitFor();
  assert.deepEqual(await texts(erin), want);
  await erin.page.reload();
  await connected(erin);
  await erin.page.getByText("the very first").waitFor();
  assert.deepEqual(await texts(erin), want);
});

await check("keyboard and screen reader find their way", async () => {
  const { page } = alice;
  for (const label of ["Room", "Name", "Message"]) assert.equal(await page.getByLabel(label, { exact: true }).count(), 1, label);
  assert.equal(await page.getByRole("log", { name: "Messages" }).count(), 1);
  assert.equal(await page.getByRole("status").textContent(), "Connected");
  const nameless = await page.locator("button, input, textarea").evaluateAll((all) =>
    all.filter((e) => e.checkVisibility() && !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).map((e) => e.outerHTML));
  assert.deepEqual(nameless, []);
  await page.getByLabel("Name", { exact: true }).focus();
  const stops = [];
  for (let i = 0; i < 12; i++) {
    await page.keyboard.press("Tab");
    stops.push(await page.evaluate(() => document.activeElement.ariaLabel ?? document.activeElement.id));
  }
  const wanted = ["join", "share", "Messages, scrollable", "say", "Send"];
  assert.deepEqual(stops.filter((stop) => wanted.includes(stop)).slice(0, 5), wanted);
});

await check("the page looks the same to everybody (screenshots)", async () => {
  const harbour = process.env.FRESH ? "harbour" : `harbour-${run}`;
  const mia = await arrive("mia", harbour, { colorScheme: "light" });
  const ines = await arrive("ines", harbour, { colorScheme: "dark" });
  const theo = await arrive("theo", harbour, { colorScheme: "light", viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true });
  const talk = [
    [mia, "Morning! The *Albatros* is in, berth 4.", "Crew of nine, all well."],
    [ines, "Saw her from the hill. Who takes the ropes?"],
    [theo, "Me, in ten minutes. I have the tide table here: https://example.org/tides?day=today"],
    [ines, "Good. I bring coffee, then. Four cups?"],
    [mia, "Five, the pilot stays.", "And would somebody look at the light on the east mole? It blinked twice in a row last night, and then not at all for a while; the log says 02:14 and 02:31."],
    [theo, "I can climb up after lunch."],
    [ines, "Wear a jacket, it blows up there."],
  ];
  let n = 0;
  for (const [who, ...lines] of talk) {
    await say(who, ...lines);
    n += lines.length;
    await agree(n, mia, ines, theo);
  }
  await theo.page.getByLabel("Message", { exact: true }).pressSequentially("Will");
  await mia.page.getByText("theo is writing…").waitFor();
  for (const { page } of [mia, ines, theo]) await page.waitForFunction(() => document.querySelectorAll("#users li").length === 3);
  await mia.page.screenshot({ path: `${shots}/desktop-light.png` });
  await ines.page.screenshot({ path: `${shots}/desktop-dark.png` });
  await theo.page.screenshot({ path: `${shots}/phone-light.png` });
  await theo.page.emulateMedia({ colorScheme: "dark" });
  await theo.page.getByRole("button", { name: /here/ }).click();
  await theo.page.screenshot({ path: `${shots}/phone-dark-people.png` });
});

await check("no page complained: no errors, no violations of the policy", async () => {
  assert.deepEqual(complaints, []);
});

await browser.close();
for (const { line } of people) line.cut();
console.log(`screenshots in ${shots}`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
