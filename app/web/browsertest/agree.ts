import assert from "node:assert/strict";
import type { Cluster } from "./cluster";
import type { Person } from "./person";
import { until } from "./wait";

// said is what a room's log has for the screen: no edits, deletions, descriptions.
export async function said(cluster: Cluster, room: string): Promise<string[]> {
  return (await cluster.log(room))
    .filter(({ about }) => !about?.edits && !about?.deletes && !about?.describes)
    .map(({ data }) => (data as { text?: string } | null)?.text ?? "");
}

// agree waits until the log of a room has n messages and everybody's screen shows the same,
// and sees to it that nothing stands there twice.
export async function agree(
  cluster: Cluster,
  room: string,
  n: number,
  ...people: Person[]
): Promise<string[]> {
  const log = await until(`the log of ${room} has ${n} messages`, async () => {
    const all = await said(cluster, room);
    return all.length >= n && all;
  });
  assert.deepEqual([...new Set(log)], log, "each message stands in the log once");
  assert.equal(log.length, n, `messages in the log: ${log.join(" | ")}`);
  for (const person of people) {
    let seen: string[] = [];
    await until(
      () => `${person.user} sees what the log has.\nsees ${seen.join(" | ")}\nlog  ${log.join(" | ")}`,
      async () => {
        seen = await person.texts();
        return seen.join("\n") === log.join("\n") && (await person.pending()) === 0;
      },
    );
  }
  return log;
}

export const numbered = (word: string, n: number): string[] =>
  Array.from({ length: n }, (_, i) => `${word} ${i + 1}`);

// inOrder: what one person has said stands in the order in which it was said.
export const inOrder = (all: string[], mine: string[]): void =>
  assert.deepEqual(
    all.filter((text) => mine.includes(text)),
    mine,
    "a sender's own order",
  );
