import assert from "node:assert/strict";
import { TokenNode } from "./cluster";
import { subject } from "./runner";
import { until } from "./wait";

const check = subject("tokens");
const needs = { cluster: true } as const;

check(
  "a token that expires is asked for again, and what was written meanwhile arrives with the next one",
  async (stage) => {
    stage.rough = true; // sockets without a good token are refused
    const node = await new TokenNode().start();
    stage.after(() => node.stop());
    const [a, b] = [stage.name("alice"), stage.name("bob")];
    const room = stage.name("room");
    const bob = await stage.arrive(b, room, { from: node.url, token: node.token(b, 600) });
    const alice = await stage.arrive(a, room, { from: node.url, token: node.token(a, 4) });
    await alice.say("while the token is good");
    await bob.shows("while the token is good");
    await alice.tokenField().waitFor();
    await bob.say("said meanwhile");
    await alice.signIn(node.token(a, 600));
    await alice.joined();
    await alice.say("with another token");
    for (const person of [alice, bob])
      await until(
        `${person.user} sees all three`,
        async () =>
          (await person.texts()).join() === "while the token is good,said meanwhile,with another token",
      );
  },
  needs,
);

check(
  "without a good token the page says why it is refused, and asks for one",
  async (stage) => {
    stage.rough = true;
    const node = await new TokenNode().start();
    stage.after(() => node.stop());
    const room = stage.name("room");
    const user = stage.name("alice");
    const alice = await stage.come("alice", room, { from: node.url });
    await alice.tokenField().waitFor();
    await alice.signIn(node.token(user, -60));
    await alice.tokenField().waitFor();
    await alice.signIn(node.token(user, 600));
    await alice.joined();
    await alice.present(user).waitFor();
  },
  needs,
);

check(
  "a token that may only read a room says so, and cannot write; a room that it may not enter says why",
  async (stage) => {
    stage.rough = true;
    const node = await new TokenNode().start();
    stage.after(() => node.stop());
    const [open, shut] = [stage.name("open"), stage.name("shut")];
    const user = stage.name("reader");
    const token = node.token(user, 600, {
      grants: [
        { rooms: `${open}*`, may: "read" },
        { rooms: "@*", may: "write" },
      ],
    });
    const reader = await stage.arrive("reader", open, { from: node.url, token });
    await reader.say("may I?");
    await reader.failed("may I?").waitFor();
    await reader.discard("may I?");
    assert.deepEqual(await reader.texts(), []);
    await reader.openRoom(shut);
    await reader.refused().waitFor();
    assert.equal(await reader.log().getByText("may I?").count(), 0);
  },
  needs,
);

check(
  "a hostile title and topic stand there as text",
  async (stage) => {
    const node = await new TokenNode().start();
    stage.after(() => node.stop());
    const room = stage.name("room");
    const [user, title, topic] = [
      stage.name("owner"),
      `<img src=x onerror="window.hit=1">`,
      "<b onclick=window.hit=1>\u202Etopic</b>",
    ];
    const token = node.token(user, 600, { grants: [{ rooms: "*", may: "manage" }] });
    const owner = await stage.arrive("owner", room, { from: node.url, token });
    await owner.describe(title, topic);
    await owner.page.getByText(title).first().waitFor();
    await owner.page.reload();
    await owner.joined();
    await owner.page.getByText(title).first().waitFor();
    await owner.page.getByText(topic).first().waitFor();
    assert.equal(await owner.page.evaluate("window.hit"), undefined);
    assert.equal(await owner.page.locator("b[onclick], img[onerror]").count(), 0);
  },
  needs,
);

check(
  "who is logged out everywhere is asked for another token",
  async (stage) => {
    stage.rough = true;
    const node = await new TokenNode().start();
    stage.after(() => node.stop());
    const [user, room] = [stage.name("alice"), stage.name("room")];
    const alice = await stage.arrive("alice", room, { from: node.url, token: node.token(user, 600) });
    await node.logout(user);
    await alice.tokenField().waitFor();
  },
  needs,
);

check(
  "the SDK asks for another token before one ends, and its connection goes on",
  async (stage) => {
    stage.rough = true; // there is no favicon.ico
    const node = await new TokenNode().start();
    stage.after(() => node.stop());
    const user = stage.name("app");
    const page = await stage.open("app", `${node.url}/healthz`); // anything of that origin
    const why: string[] = [];
    await page.exposeFunction("getToken", (reason: string) => {
      why.push(reason);
      return node.token(user, 5);
    });
    const sdk = await page.evaluateHandle<typeof import("../sdk/src/index")>('import("/sdk/chat.js")');
    const states = await sdk.evaluateHandle(async ({ Chat }, room) => {
      const { getToken } = window as unknown as { getToken: (why: string) => Promise<string> };
      const chat = new Chat(undefined, { getToken });
      const states: string[] = [];
      chat.on("state", ({ state }) => states.push(state));
      await chat.ready();
      const lobby = chat.room(room);
      await lobby.join();
      setInterval(() => lobby.send("still here"), 500);
      return states;
    }, stage.name("room"));
    await until("three tokens were asked for", () => why.length >= 3);
    assert.deepEqual([...new Set(why)], ["first", "expiring"]);
    assert.deepEqual(
      (await states.jsonValue()).filter((state) => state !== "connecting"),
      ["connected"],
    );
  },
  needs,
);
