// What the documents tell people to type.

import { expect, inject, test } from "vitest";
import { aimed, blocks, type Dialog, dialog, normal } from "./files.js";
import { freshRoom, Program, until } from "./harness.js";

test.each([
  ["README.md", "Try it"],
  ["docs/examples/README.md", "By hand"],
])("the conversation by wscat in %s goes as it says", async (document, heading) => {
  const block = blocks(document, heading).find((text) => text.includes("wscat")) ?? "";
  const [command = "", ...lines] = aimed(block, inject("port"), freshRoom()).trim().split("\n");
  const wscat = new Program("bash", ["-c", command.replace(/^\$ /, "")]);
  const heard: string[] = [];

  for (const line of lines) {
    if (line.startsWith("< ")) heard.push(line.slice(2));
    else wscat.type(line.slice(2));
    await until(`${line} (so far ${wscat.out})`, () => wscat.lines.length >= heard.length);
  }
  // Nothing is promised about the order of a reply and a push.
  const prompt = /^(> )+/;
  expect(normal(wscat.lines.map((line) => line.replace(prompt, ""))).sort()).toEqual(normal(heard).sort());
});

test("the curl commands hear a room, speak in it and come back as they say", async () => {
  const room = freshRoom();
  const dialogs = blocks("docs/examples/README.md", "curl").map((text) =>
    dialog(aimed(text, inject("port"), room)),
  );
  expect(dialogs).toHaveLength(4);
  const [open, say, heard, back] = dialogs as [Dialog, Dialog, Dialog, Dialog];
  const listener = new Program("bash", ["-c", open.command]);
  await until("hello and joined", () => listener.lines.length >= open.lines.length);
  expect(normal(listener.lines)).toEqual(normal(open.lines));

  const reply = new Program("bash", ["-c", say.command]);
  expect(await reply.exit).toBe(0);
  expect(normal(reply.lines)).toEqual(normal(say.lines));

  const all = [...open.lines, ...heard.lines];
  await until("the message", () => listener.lines.length >= all.length);
  expect(normal(listener.lines)).toEqual(normal(all));
  await listener.end();

  const again = new Program("bash", ["-c", back.command]);
  await until("what was missed", () => again.lines.length >= back.lines.length);
  expect(normal(again.lines)).toEqual(normal(back.lines));
});

test("a shell script says something in a room", async () => {
  const [block = ""] = blocks("docs/examples/README.md", "From a shell script");
  const room = freshRoom();
  const { command, lines } = dialog(aimed(block, inject("port"), room));
  const listener = new Program("npx", [
    "wscat",
    "-c",
    `ws://127.0.0.1:${inject("port")}/ws/chat/${room}?user=alice`,
  ]);
  await listener.says('"joined"');

  for (let time = 1; time <= 2; time++) {
    const script = new Program("bash", ["-c", command]);
    expect(await script.exit).toBe(0);
    expect(normal(script.lines)).toEqual(normal(lines));
  }
  await listener.says("Release 42 is out");
});
