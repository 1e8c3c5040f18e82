import { waitOut } from "./clock.js";
import { newKey } from "./names.js";
import { authorization, type Ears, type End, type Pipe, readRefusal, type Where } from "./pipe.js";

const COMMANDS = 32; // of one request: the server takes 64
const CHARACTERS = 20_000; // of them, up to three bytes each: the server takes 64 KiB

/**
 * openStream hears by a streamed GET and speaks by POSTs, one at a time, so that commands stay in order. What
 * gathers meanwhile goes with the next one. The address is the socket's, under /sse instead of /ws.
 */
export function openStream(where: Where, ears: Ears): Pipe {
  const url = new URL(where.url);
  url.searchParams.set("stream", newKey());
  const commands = new URL(url);
  for (const name of ["since", "inbox", "members"]) commands.searchParams.delete(name);
  const hearing = new AbortController();
  let speaking: AbortController | undefined; // one for each request: Node warns of a signal with many listeners
  let closed = false;
  let waiting: string[] = [];
  let posting = false;
  let opened = false;

  const close = () => {
    closed = true;
    hearing.abort();
    speaking?.abort();
  };
  const gone = (end: End) => {
    if (closed) return;
    close();
    ears.gone(end);
  };
  const broken = () => gone({ code: 1006, opened });

  const listen = async () => {
    const headers = { ...authorization(where.token), Accept: "text/event-stream" };
    const answer = await where.fetch(url.href, { headers, cache: "no-store", signal: hearing.signal });
    if (answer.status !== 200 || !answer.body) {
      gone(await readRefusal(answer));
      return;
    }
    opened = true;
    for await (const { name, data } of events(answer.body)) {
      if (closed) return;
      if (name === "close") gone(JSON.parse(data));
      else if (data) ears.text(data);
      else ears.beat();
    }
    broken();
  };

  const speak = async () => {
    if (posting) return;
    posting = true;
    while (waiting.length && !closed) {
      speaking = new AbortController();
      const batch = waiting.splice(0, batchSize(waiting));
      const answer = await where.fetch(commands.href, {
        method: "POST",
        headers: { ...authorization(where.token), "Content-Type": "application/x-ndjson" },
        body: batch.join("\n"),
        signal: speaking.signal,
      });
      if (answer.status === 200) {
        const replies = (await answer.text()).split("\n").filter(Boolean);
        for (const reply of replies) if (!closed) ears.text(reply);
        waiting = [...batch.slice(replies.length), ...waiting]; // what has no reply was not carried out
      } else {
        const { error } = await readRefusal(answer);
        if (answer.status === 401) gone({ code: 4501 });
        else if (answer.status === 413) gone({ code: 1009 });
        else if (!error?.temporary) gone({ code: 1006, opened, astray: error?.code === "no_stream" }); // it has ended, or is elsewhere
        waiting = [...batch, ...waiting];
        await waitOut({ retryAfter: error?.retryAfter ?? 0 });
      }
    }
    posting = false;
  };

  listen().catch(broken);
  return {
    send(frame) {
      waiting.push(frame);
      speak().catch(broken);
    },
    close,
  };
}

/** How many commands go with one request. */
function batchSize(frames: string[]): number {
  let characters = 0;
  let count = 0;
  for (const { length } of frames) {
    characters += length;
    if (count > 0 && (count === COMMANDS || characters > CHARACTERS)) break;
    count++;
  }
  return count;
}

/** events reads server-sent events (HTML, "Server-sent events"). One without data stands for a comment: a heartbeat. */
async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<{ name: string; data: string }> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let name = "";
  let data: string[] = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split(/\r?\n/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const [, field, text = ""] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
      if (field === "event") name = text;
      else if (field === "data") data.push(text);
      else if (line.startsWith(":")) yield { name: "", data: "" };
      else if (!line) {
        if (data.length) yield { name, data: data.join("\n") };
        name = "";
        data = [];
      }
    }
  }
}
