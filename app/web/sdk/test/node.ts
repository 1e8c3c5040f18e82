// A real node of chatring on this machine, with the in-memory broker, for tests over the real wire.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const repo = fileURLToPath(new URL("../../../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "chatring-sdk-"));
const binary = join(folder, "chatring");
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/local/go/bin` };
const running = new Set<ChildProcess>();

/** Builds the node, once for a file of tests. */
export function build(): void {
  execFileSync("go", ["build", "-o", binary, "./app"], { cwd: repo, env: { ...env, CGO_ENABLED: "0" } });
}

/** Ends what was started, and takes away what was built. */
export function cleanUp(): void {
  for (const child of running) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}

/** Signs tokens as an issuer would. */
export class Issuer {
  readonly settings: Record<string, string>;

  constructor() {
    const secret = join(folder, "secret");
    writeFileSync(secret, `${"0123456789abcdef".repeat(4)}\n`);
    this.settings = { AUTH_MODE: "jwt", AUTH_SECRET_FILE: secret, AUTH_LEEWAY: "0s" };
  }

  token(user: string, ...flags: string[]): string {
    return execFileSync(binary, ["token", "--user", user, ...flags], { env: spelled(this.settings) })
      .toString()
      .trim();
  }
}

export class ChatNode {
  #child: ChildProcess;

  private constructor(
    readonly port: number,
    readonly settings: Record<string, string>,
  ) {
    this.#child = spawn(binary, ["serve", "--ops-listen", ""], {
      env: spelled({ LISTEN: `127.0.0.1:${port}`, BROKER: "memory", ...settings }),
      stdio: "ignore",
    });
    running.add(this.#child);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  static async start(settings: Record<string, string> = {}, port?: number): Promise<ChatNode> {
    const node = new ChatNode(port ?? (await freePort()), settings);
    await until(
      () =>
        fetch(`${node.url}/healthz`).then(
          ({ ok }) => ok,
          () => false,
        ),
      "the node is up",
    );
    return node;
  }

  /** Ends it as a fault would, or lets it drain; resolves when it is gone. */
  async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const gone = new Promise((done) => this.#child.once("exit", done));
    this.#child.kill(signal);
    await gone;
    running.delete(this.#child);
  }

  /** The same node again, with an empty log. */
  again(): Promise<ChatNode> {
    return ChatNode.start(this.settings, this.port);
  }
}

function spelled(settings: Record<string, string>): Record<string, string> {
  const names = Object.entries(settings).map(([name, value]) => [`CHATRING_${name}`, value]);
  return Object.fromEntries([["PATH", env.PATH], ...names]);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

/** A way to a node that can be cut, or that lets no WebSocket through. */
export class Way {
  readonly #open = new Set<{ destroy(): void }>();
  #server = createServer();
  blocksSockets = false;

  static async to(node: ChatNode): Promise<Way> {
    const way = new Way();
    way.#server.on("connection", (near) => {
      const far = connect(node.port, "127.0.0.1");
      way.#open.add(near).add(far);
      near.on("data", (bytes: Buffer) => {
        if (way.blocksSockets && /^Upgrade: *websocket/im.test(bytes.toString("latin1"))) near.destroy();
        else far.write(bytes);
      });
      far.on("data", (bytes: Buffer) => near.write(bytes));
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        one.on("close", () => other.destroy());
        one.on("error", () => other.destroy());
      }
    });
    way.#server.listen(0, "127.0.0.1");
    await new Promise((done) => way.#server.once("listening", done));
    return way;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  cut(): void {
    for (const end of this.#open) end.destroy();
    this.#open.clear();
  }

  close(): void {
    this.#server.close();
    this.cut();
  }
}

/** Waits until something is so, as long as a busy machine may take. */
export async function until(so: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const end = Date.now() + 20_000; !(await so()); ) {
    if (Date.now() > end) throw new Error(`not within 20 s: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}
