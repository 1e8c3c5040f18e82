import { after } from "./clock.js";
import { newKey } from "./names.js";
import { authorization, type Ears, type End, type Pipe, readRefusal, type Where } from "./pipe.js";
import type { WebSocketClass } from "./types.js";

/** openSocket opens a WebSocket. One that never opens is explained by a plain request for the same address. */
export function openSocket(where: Where, ears: Ears, Socket: WebSocketClass): Pipe {
  const url = new URL(where.url);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  let open = false;
  let closed = false;
  let socket: InstanceType<WebSocketClass>;

  const leave = () => {
    closed = true;
    giveUp();
    socket?.close();
  };
  const gone = async (end: End) => {
    if (closed) return;
    leave();
    ears.gone(open ? { ...end, opened: true } : { ...end, ...(await askWhy(where)) });
  };
  const giveUp = after(where.timeout, () => gone({ code: 1006, reason: "the socket did not open in time" }));

  try {
    socket = new Socket(url.href, where.token ? ["chatring.v1", `bearer.${where.token}`] : ["chatring.v1"]);
  } catch {
    // A token with characters that no token has, or a page that may open no sockets: the plain request tells.
    queueMicrotask(() => gone({ code: 1006 }));
    return { send() {}, close: leave };
  }
  socket.onopen = () => {
    open = true;
    giveUp();
  };
  socket.onmessage = ({ data }: { data: unknown }) => {
    if (!closed) ears.text(String(data));
  };
  socket.onerror = () => {}; // close follows, and says more
  socket.onclose = ({ code, reason }: End) => void gone({ code, reason });
  return { send: (frame) => socket.send(frame), close: leave };
}

// Browsers do not say why a handshake was refused. The same address without an upgrade does.
async function askWhy({ url, token, fetch, timeout }: Where): Promise<Partial<End>> {
  const ask = async (href: string, method: string) => {
    const asking = new AbortController();
    // Two questions and the handshake are over before the connection is given up for its silence.
    const giveUp = after(Math.min(timeout / 3, 3000), () => asking.abort());
    try {
      return await readRefusal(
        await fetch(href, { method, headers: authorization(token), signal: asking.signal }),
      );
    } finally {
      giveUp();
    }
  };
  try {
    return await ask(url.href, "GET");
  } catch {
    // Nobody answers; or this page is of another origin, and may only read what addresses of streams say.
  }
  if (!globalThis.location || location.origin === url.origin) return {};
  try {
    const stream = `${url.href.replace("/ws/", "/sse/")}${url.search ? "&" : "?"}stream=${newKey()}`;
    const end = await ask(stream, "POST");
    return end.error?.code === "no_stream" ? { ...end, status: 426 } : end;
  } catch {
    return {};
  }
}
