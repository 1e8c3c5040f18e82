// A pipe carries text to and from the server, one frame at a time, over whichever transport.

import type { ChatError } from "./errors.js";
import { refusal } from "./errors.js";
import type { WireError } from "./wire.js";

export interface Pipe {
  send(frame: string): void;
  /** Ends it, without a word to the ears. */
  close(): void;
}

/** Who listens at a pipe. `gone` is the last that is heard. */
export interface Ears {
  text(frame: string): void;
  /** A sign of life that says nothing. */
  beat(): void;
  gone(end: End): void;
}

/** How a pipe ended. */
export interface End {
  /** The close code; 1006 when there was none. */
  code: number;
  reason?: string;
  /** It was open before. */
  opened?: boolean;
  /** Commands went where it is not. */
  astray?: boolean;
  /** The HTTP answer, where it was never open; 426 says that a plain request gets through. */
  status?: number;
  error?: ChatError;
}

export interface Where {
  readonly url: URL;
  /** Changes when a fresh one is shown. */
  token: string | undefined;
  readonly fetch: typeof fetch;
  /** How long the handshake may take. */
  readonly timeout: number;
  /** How long a reply may take. */
  readonly patience: number;
  readonly maxBytes: number;
}

export type OpenPipe = (where: Where, ears: Ears) => Pipe;

export const authorization = (token: string | undefined): Record<string, string> =>
  token ? { Authorization: `Bearer ${token}` } : {};

/** What an HTTP answer other than the one hoped for says. */
export async function readRefusal(answer: Response): Promise<End> {
  const { status } = answer;
  const wait = Number(answer.headers.get("Retry-After")) * 1000 || 0;
  let error: WireError | undefined;
  try {
    error = ((await answer.json()) as { error?: WireError }).error;
  } catch {
    // A page of a proxy: the status says enough.
  }
  // Below 400 somebody else has answered, such as the login page of a hotel.
  const temporary = status >= 500 || status === 429 || status === 408 || status < 400;
  const said: WireError = {
    code: error?.code ?? `http_${status}`,
    message: error?.message ?? `the server answered ${status}`,
  };
  return {
    code: 1006,
    status,
    error: refusal({ ...said, temporary, retry_after_ms: error?.retry_after_ms || wait }),
  };
}
