import { execFile, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { PATIENCE, until } from "./wait";

// What the log has of a message, as the API for services says it.
export interface Logged {
  pos: string;
  from: string;
  key: string;
  ts: number;
  data: unknown;
  about?: { edits?: unknown; deletes?: unknown; describes?: unknown };
}

// A Cluster is HAProxy, Redis and nodes, as scripts/up has started them.
export class Cluster {
  readonly url: string;
  readonly state: string | undefined; // the folder of scripts/up; without it nothing can be killed
  readonly #port: number;

  constructor(url: string, state?: string) {
    this.url = url.replace(/\/$/, "");
    this.state = state && existsSync(join(state, "port")) ? state : undefined;
    this.#port = Number(new URL(url).port || 80);
  }

  // nodes are the numbers of those that scripts/up has started: 1, 2, …
  get nodes(): number[] {
    const n = this.state ? Number(readFileSync(join(this.state, "shards"), "utf8")) : 0;
    return Array.from({ length: n }, (_, i) => i + 1);
  }

  // node is a node's own address, without HAProxy before it.
  node = (n: number): string => `http://127.0.0.1:${this.#port + n}`;
  ops = (n: number): string => `http://127.0.0.1:${this.#port + 100 + n}`;
  shard = (n: number): string => String(n).repeat(4);

  // home is the shard that the ring names for a room.
  async home(room: string): Promise<string> {
    const { shard } = await this.get<{ shard: string }>(`/shard/${room}`);
    return shard;
  }

  // roomAt finds a room that is at home on a shard.
  async roomAt(shard: string, prefix: string): Promise<string> {
    for (let i = 0; i < 200; i++) if ((await this.home(`${prefix}-${i}`)) === shard) return `${prefix}-${i}`;
    throw new Error(`no room of 200 is at home on ${shard}`);
  }

  // log is all that has been said in a room.
  async log(room: string): Promise<Logged[]> {
    const all: Logged[] = [];
    for (let after = "0-0", more = true; more; ) {
      const path = `/api/rooms/${encodeURIComponent(room)}/messages?service=suite&limit=256&after=${after}`;
      const page = await this.get<{ messages: Logged[]; more: boolean }>(
        path.replace("%40", "@").replace("%2B", "+"),
      );
      all.push(...page.messages);
      after = all.at(-1)?.pos ?? after;
      more = page.more && page.messages.length > 0;
    }
    return all;
  }

  // post asks the API for services, as one of them.
  async post(path: string, body: unknown, service = "suite"): Promise<void> {
    const answer = await fetch(`${this.url}${path}?service=${service}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`POST ${path}: ${answer.status} ${await answer.text()}`);
  }

  // get asks until there is an answer: nodes are killed here.
  async get<T>(path: string): Promise<T> {
    let why = "";
    return until(
      () => `GET ${path}: ${why}`,
      async () => {
        try {
          const answer = await fetch(this.url + path, { signal: AbortSignal.timeout(PATIENCE) });
          if (answer.ok) return (await answer.json()) as T;
          why = `${answer.status} ${await answer.text()}`;
        } catch (error) {
          why = String(error);
        }
        return undefined;
      },
    );
  }

  // kill ends a part at once, as kill -9 does: "ws2", "redis".
  kill = (part: string): void => this.#signal(part, "SIGKILL");

  // drain has a node lead its members away, and resolves when its process has ended.
  drain = async (part: string): Promise<void> => {
    this.#signal(part, "SIGTERM");
    await until(`${part} has drained`, () => !this.#runs(part), 3 * PATIENCE);
  };

  #pid = (part: string): number => Number(readFileSync(join(this.state as string, `${part}.pid`), "utf8"));

  #signal(part: string, signal: NodeJS.Signals): void {
    process.kill(this.#pid(part), signal);
  }

  #runs(part: string): boolean {
    try {
      return process.kill(this.#pid(part), 0);
    } catch {
      return false;
    }
  }

  // start has a part again that has ended, and waits until HAProxy sends it rooms.
  start = async (part: string): Promise<void> => {
    const option = part.startsWith("ws") ? ["--node", part.slice(2)] : [`--${part}`];
    const up = fileURLToPath(new URL("../../../scripts/up", import.meta.url));
    await promisify(execFile)(up, option, { env: { ...process.env, CHATRING_STATE: this.state as string } });
  };
}

// A Node of its own, whose users show tokens. It keeps its rooms in memory.
export class TokenNode {
  url = "";
  #stop = () => {};
  static readonly #secret = "a secret of thirty-two bytes, or more";

  async start(): Promise<this> {
    const folder = mkdtempSync(join(tmpdir(), "chatring-"));
    const secret = join(folder, "secret");
    writeFileSync(secret, `${TokenNode.#secret}\n`, { mode: 0o600 });
    const port = await freePort();
    const node = spawn(process.env.CHATRING_BIN as string, ["serve", "--ops-listen", ""], {
      stdio: "ignore",
      env: {
        PATH: process.env.PATH,
        CHATRING_LISTEN: `127.0.0.1:${port}`,
        CHATRING_BROKER: "memory",
        CHATRING_AUTH_MODE: "jwt",
        CHATRING_AUTH_SECRET_FILE: secret,
        CHATRING_AUTH_LEEWAY: "0s",
      },
    });
    this.#stop = () => {
      node.kill("SIGKILL");
      rmSync(folder, { recursive: true, force: true });
    };
    this.url = `http://127.0.0.1:${port}`;
    await until("the node with tokens answers", () =>
      fetch(`${this.url}/healthz`).then(
        (r) => r.ok,
        () => false,
      ),
    );
    return this;
  }

  stop(): void {
    this.#stop();
  }

  // logout makes all tokens of a user worthless.
  async logout(user: string): Promise<void> {
    const answer = await fetch(`${this.url}/api/users/${user}/logout`, {
      method: "POST",
      headers: { Authorization: `Bearer ${this.token("suite", 60, { service: ["admin"] })}` },
    });
    if (!answer.ok) throw new Error(`log out ${user}: ${answer.status} ${await answer.text()}`);
  }

  // token is good for some seconds.
  token(user: string, seconds: number, claims: object = {}): string {
    const now = Math.floor(Date.now() / 1000);
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, iat: now, exp: now + seconds, ...claims })}`;
    return `${signed}.${createHmac("sha256", TokenNode.#secret).update(signed).digest("base64url")}`;
  }
}

function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => done(port));
    });
  });
}
