// The examples and the documents, as they stand there: only the address and the room that they name become those of
// the test.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../..", import.meta.url));
export const read = (path: string) => readFileSync(`${root}/${path}`, "utf8");

/** The text of a file or block, with another cluster and another room in it. */
export const aimed = (text: string, port: number, room: string) =>
  text.replaceAll("localhost:8080", `localhost:${port}`).replaceAll("lobby", room);

/** Code blocks of one section of a document, the heading of which begins so. */
export function blocks(document: string, heading: string): string[] {
  const section = read(document)
    .split(/^#+ /m)
    .find((part) => part.startsWith(heading));
  if (section === undefined) throw new Error(`${document} has no section "${heading}"`);
  return [...section.matchAll(/^```\w*\n(.*?)^```$/gms)].map((match) => match[1] ?? "");
}

/** Lines without what differs from one run to the next: positions are numbered in the order in which they come. */
export function normal(lines: string[]): string[] {
  const positions: string[] = [];
  return lines.map((line) =>
    line
      .replace(/\d{13}-\d+/g, (pos) => {
        if (!positions.includes(pos)) positions.push(pos);
        return `pos ${positions.indexOf(pos) + 1}`;
      })
      .replace(/^retry: \d+$/, "retry: 1000")
      .replace(/"ts":\d{13}/g, '"ts":0')
      .replace(/"shard":"\d+"/g, '"shard":"1111"')
      .replace(/"session":"[a-z0-9]+"/g, '"session":"one"'),
  );
}

/** A command, which a backslash may continue, and the lines that it prints. */
export interface Dialog {
  command: string;
  lines: string[];
}

/** Reads a block with one command, or with the rest of what an earlier one prints. */
export function dialog(block = ""): Dialog {
  const command = /^\$ ((?:.*\\\n)*.*)/.exec(block);
  const rest = command ? block.slice(command[0].length) : block;
  return { command: command?.[1] ?? "", lines: rest.split("\n").filter((line) => line !== "") };
}

/** The variables that the commands of a block set. */
export const variables = (block = ""): Record<string, string> =>
  Object.fromEntries([...block.matchAll(/\b([A-Z][A-Z_]+)=(\S+)/g)].map(([, name, value]) => [name, value]));
