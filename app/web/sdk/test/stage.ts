// A stage for unit tests: a Chat whose server is the test itself, and whose clock is vitest's.

import { vi } from "vitest";
import { Chat, type ChatOptions, type Room } from "../src/index.js";

type Json = Record<string, unknown>;

/** The server's end of one socket. */
export class Socket {
  /** Commands that nobody has looked at, oldest first. */
  readonly commands: Json[] = [];
  readonly path: string;
  closed = false;

  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;

  constructor(
    readonly url: string,
    readonly protocols: string[] = [],
  ) {
    const { pathname, search } = new URL(url);
    this.path = pathname + search;
  }

  // ---- What the client does.

  send(text: string): void {
    this.commands.push(JSON.parse(text));
  }

  close(): void {
    this.closed = true;
  }

  // ---- What the server does.

  /** Lets the client in, and says hello. */
  hello(more: Json = {}): this {
    this.onopen?.({} as never);
    const push = { push: "hello", user: "alice", session: "s1", shard: "1111", ping_s: 25, inbox: "@alice" };
    return this.push({ ...push, ...more });
  }

  push(frame: Json): this {
    this.onmessage?.({ data: JSON.stringify(frame) });
    return this;
  }

  joined(room: string, pos: string, more: Json = {}): this {
    return this.push({ push: "joined", room, pos, recovered: false, missed: 0, ...more });
  }

  message(room: string, pos: string, more: Json = {}): this {
    return this.push(message(room, pos, more));
  }

  /** Takes the next command, which is to be this one, and returns it. */
  async takes(cmd: string): Promise<Json> {
    await tick();
    const command = this.commands.shift();
    if (command?.cmd !== cmd) throw new Error(`want ${cmd}, got ${JSON.stringify(command)}`);
    return command;
  }

  /** Takes the next command, and answers that it is carried out. */
  async answers(cmd: string, ok: Json = {}): Promise<Json> {
    const command = await this.takes(cmd);
    this.push({ id: command.id, ok });
    await tick();
    return command;
  }

  /** Takes the next command, and refuses it. */
  async refuses(cmd: string, code: string, more: Json = {}): Promise<Json> {
    const command = await this.takes(cmd);
    this.push({ id: command.id, error: { code, message: code, ...more } });
    await tick();
    return command;
  }

  async ends(code: number, reason = ""): Promise<void> {
    this.onclose?.({ code, reason });
    await tick();
  }
}

export const message = (room: string, pos: string, more: Json = {}): Json => ({
  push: "message",
  room,
  pos,
  from: "bob",
  key: `k${pos}`,
  ts: 1000,
  data: pos,
  ...more,
});

/** Lets all that is due happen, and with ms all that becomes due within that time. */
export const tick = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

export interface Answer {
  status: number;
  error?: Json;
  headers?: Record<string, string>;
}

export class Stage {
  readonly chat: Chat;
  readonly sockets: Socket[] = [];
  /** What plain requests for an address are answered; undefined: nobody answers. */
  plain: Answer | undefined;
  /** What chat and rooms have told, a line each. */
  heard: string[] = [];

  constructor(options: Partial<ChatOptions> = {}) {
    const { sockets } = this;
    class Opened extends Socket {
      constructor(url: string, protocols?: string[]) {
        super(url, protocols);
        sockets.push(this);
      }
    }
    this.chat = new Chat("https://chat.example.com", {
      ...(options.getToken || options.token ? {} : { user: "alice" }),
      WebSocket: Opened,
      fetch: async () => this.#answer(),
      storage: null,
      ...options,
    });
    for (const event of ["state", "inbox", "friend", "announcement", "read", "error"] as const) {
      this.chat.on(event, (detail) => this.heard.push(`${event} ${line(detail)}`));
    }
  }

  /** The room of a name, whose events are heard but for those that are of no interest. */
  room(name: string, options = {}, ...without: string[]): Room {
    const room = this.chat.room(name, options);
    this.listen(room, ...without);
    return room;
  }

  listen(room: Room, ...without: string[]): void {
    const events = "state message change moved describe recovered gap reset signal typing member pending";
    for (const event of events.split(" ") as "state"[]) {
      if (without.includes(event)) continue;
      room.on(event, (detail) => this.heard.push(`${room.name} ${event} ${line(detail)}`));
    }
  }

  /** What was heard since the last time, of one kind if one is said. */
  hears(kind = ""): string[] {
    const lines = this.heard.filter((one) => one.includes(kind));
    this.heard = [];
    return lines;
  }

  /** The newest socket, which the client has opened by now. */
  async socket(): Promise<Socket> {
    await tick();
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("the client has opened no socket");
    return socket;
  }

  /** A chat that is in one room, with nothing said there, and its socket. */
  async inRoom(name: string, options = {}, ...without: string[]): Promise<{ room: Room; socket: Socket }> {
    const room = this.room(name, { history: 0, ...options }, ...without);
    room.join();
    const socket = await this.socket();
    socket.hello().joined(name, "1-0");
    await tick();
    this.heard = [];
    return { room, socket };
  }

  async #answer(): Promise<Response> {
    if (!this.plain) throw new TypeError("fetch failed");
    const { status, error, headers = {} } = this.plain;
    return new Response(error ? JSON.stringify({ error }) : "", { status, headers });
  }
}

function line(detail: object): string {
  const { error, ...rest } = detail as { error?: { code: string } };
  const parts = Object.entries("code" in detail && detail instanceof Error ? { code: detail.code } : rest);
  if (error) parts.push(["error", error.code]);
  return parts
    .map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(" ");
}
