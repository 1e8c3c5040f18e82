import net from "node:net";

// A Line stands between one browser and the server, and can be cut.
export class Line {
  deaf = false; // swallows what the server says
  refusing = false; // answers 403 to whoever asks for a WebSocket, as proxies of some firms do
  refused = 0;

  readonly #to: URL;
  readonly #pairs = new Set<[net.Socket, net.Socket]>();
  #server: net.Server | undefined;
  #port = 0;

  constructor(to: string) {
    this.#to = new URL(to);
  }

  async open(): Promise<this> {
    this.deaf = false;
    const server = net.createServer((near) => this.#join(near));
    this.#server = server;
    await new Promise<void>((done) => server.listen(this.#port, "127.0.0.1", done));
    this.#port = (server.address() as net.AddressInfo).port;
    return this;
  }

  cut(): void {
    this.#server?.close();
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  #join(near: net.Socket): void {
    const far = net.connect(Number(this.#to.port || 80), this.#to.hostname);
    const pair: [net.Socket, net.Socket] = [near, far];
    this.#pairs.add(pair);
    near.on("data", (bytes: Buffer) => {
      if (this.refusing && /^upgrade: *websocket/im.test(bytes.toString("latin1"))) {
        this.refused++;
        near.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
      }
      far.write(bytes);
    });
    far.on("data", (bytes: Buffer) => this.deaf || near.write(bytes));
    for (const socket of pair) {
      socket.on("error", () => {});
      socket.on("close", () => {
        for (const each of pair) each.destroy();
        this.#pairs.delete(pair);
      });
    }
  }
}
