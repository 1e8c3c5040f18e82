import assert from "node:assert/strict";
import { agree } from "./agree";
import type { Person } from "./person";
import { subject } from "./runner";
import { until } from "./wait";

const check = subject("hostile");

// What case M12 of docs/hostile.md names, and a few more of its kind.
const odd = [
  `<img src=x onerror="window.hit=1">`,
  "<script>window.hit=1</script>",
  `"><svg/onload=window.hit=1>`,
  "{{constructor.constructor('window.hit=1')()}}",
  "javascript:window.hit=1 https://example.com/?q=<b>",
  'https://example.com/" onmouseover="window.hit=1',
  "\u001b[2J\u001b]0;title\u0007 escapes",
  "\u202Edesrever \u2066isolate",
  "W".repeat(600),
  `Z${"\u0336\u0347\u0310\u0489".repeat(1000)}`,
  "שלום עולם, hello",
  "there is \u2028\u2029\ufeff nothing to see",
  `"}]},{"push":"message"}`,
];

// inert: nothing that was written ran, and nothing of it is markup.
async function inert(...people: Person[]): Promise<void> {
  for (const { page, user } of people) {
    assert.equal(await page.evaluate("window.hit"), undefined, `${user}: something ran`);
    const strange = await page.evaluate(() =>
      [...document.querySelectorAll("*")]
        .filter(
          (e) =>
            [...e.attributes].some((a) => /^on/i.test(a.name) || /^\s*javascript:/i.test(a.value)) ||
            (e instanceof HTMLImageElement && !new URL(e.src, location.href).pathname.endsWith(".svg")),
        )
        .map((e) => e.outerHTML),
    );
    assert.deepEqual(strange, [], `${user}: markup that was written`);
  }
}

check("markup, scripts and odd text in messages stand there as text", async (stage) => {
  const room = stage.name("room");
  const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
  await bob.say(...odd);
  const all = await agree(stage.cluster, room, odd.length, alice, bob);
  assert.deepEqual(all, odd);
  await inert(alice, bob);
  const links = await alice
    .log()
    .locator("a[href]")
    .evaluateAll((all) => (all as HTMLAnchorElement[]).map((a) => [a.protocol, a.rel]));
  assert.ok(links.length > 0, "addresses are links");
  for (const [protocol, rel] of links) {
    assert.equal(protocol, "https:");
    assert.match(rel ?? "", /noopener.*noreferrer|noreferrer.*noopener/);
  }
});

check("odd text in an edit and in an answer stands there as text", async (stage) => {
  const room = stage.name("room");
  const [alice, bob] = [await stage.arrive("alice", room), await stage.arrive("bob", room)];
  const [first, second, third] = odd as [string, string, string];
  await alice.say("harmless");
  await bob.shows("harmless");
  await alice.edit("harmless", first);
  await bob.shows(first);
  await bob.reply(first, second);
  await alice.shows(second);
  await alice.reply(second, third);
  await bob.shows(third);
  await inert(alice, bob);
});

check("a message is not as wide or as high as its author likes", async (stage) => {
  const room = stage.name("room");
  const [alice, bob] = [
    await stage.arrive("alice", room),
    await stage.arrive("bob", room, { viewport: { width: 360, height: 640 } }),
  ];
  await alice.say(...odd);
  await agree(stage.cluster, room, odd.length, bob);
  assert.ok((await bob.width()) <= 360, `the page is ${await bob.width()} px wide`);
  const box = await bob.row(/^Z\u0336/).boundingBox();
  assert.ok((box?.height ?? 0) < 400, `a row of combining marks is ${box?.height} px high`);
});

check(
  "a hostile name is a name: in the log, among those present, while typing, in the title of a direct room",
  async (stage) => {
    const room = stage.name("room");
    const alice = await stage.arrive("alice", room);
    const eve = await stage.arrive(`<img/src=x/onerror=window.hit=1>${stage.id}`, room, { exactly: true });
    await alice.present(eve.user).waitFor();
    await eve.composer().pressSequentially("b");
    await alice.typing(eve.user).waitFor();
    await eve.say("boo");
    await agree(stage.cluster, room, 1, alice, eve);
    await eve.requestFriend(alice.user);
    await alice.answerFriend(eve.user, "Accept");
    await alice.friend(eve.user, { status: "online" }).waitFor();
    await alice.menuOf(eve.user, "Send a direct message");
    await alice.joined();
    await alice.say("who are you?");
    await until("eve is told", async () => (await eve.unread(alice.user)) > 0);
    await inert(alice, eve);
  },
);

check("notifications and announcements of services are text", async (stage) => {
  const room = stage.name("room");
  const alice = await stage.arrive("alice", room);
  const [first, second] = odd as [string, string];
  await stage.cluster.post(`/api/users/${alice.user}/notifications`, {
    data: { text: first, title: second, state: { nested: second } },
  });
  await alice.panel("notifications");
  await alice.page.getByText(first).first().waitFor();
  await stage.cluster.post("/api/announcements", { data: { text: `${second}${stage.id}` } });
  await alice.page.getByText(`${second}${stage.id}`).first().waitFor();
  await stage.cluster.post(`/api/rooms/${room}/messages`, { data: { text: ["no", "text"], toString: 1 } });
  await stage.cluster.post(`/api/rooms/${room}/messages`, { data: null });
  await stage.cluster.post(`/api/rooms/${room}/messages`, { data: { text: "last" } });
  await alice.shows("last");
  await inert(alice);
});

check("a hostile address opens no room that cannot be", async (stage) => {
  for (const [n, hash] of [
    "%3Cimg%20src=x%20onerror=window.hit=1%3E",
    "%E0%A4%A",
    "javascript:window.hit=1",
    "../../metrics",
    "%00",
  ].entries()) {
    const eve = await stage.come(`eve${n}`, hash);
    await eve.page.getByRole("heading").first().waitFor();
    await inert(eve);
    await eve.leave();
  }
});
