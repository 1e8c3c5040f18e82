import type { WireError } from "./wire.js";

/**
 * What this package rejects with. `code` is one of the server's (docs/protocol.md, "Errors") or one of this
 * package's own, which its README lists. A `temporary` one goes away by itself; `retryAfter` says when, in
 * milliseconds, where the server has said it.
 */
export class ChatError extends Error {
  readonly code: string;
  readonly temporary: boolean;
  readonly retryAfter: number;
  readonly closeCode?: number;

  constructor(
    code: string,
    message: string,
    more: { temporary?: boolean; retryAfter?: number; closeCode?: number } = {},
  ) {
    super(message);
    this.name = "ChatError";
    this.code = code;
    this.temporary = more.temporary ?? false;
    this.retryAfter = more.retryAfter ?? 0;
    if (more.closeCode !== undefined) this.closeCode = more.closeCode;
  }
}

/** The error of a reply, or of an HTTP answer. */
export const refusal = ({ code, message, temporary, retry_after_ms }: WireError): ChatError =>
  new ChatError(code, message || code, { temporary: temporary ?? false, retryAfter: retry_after_ms ?? 0 });

/** The connection went before the answer, so nobody knows whether the command was carried out. */
export const broken = (): ChatError =>
  new ChatError("disconnected", "the connection broke before the answer came", { temporary: true });

export const tooLong = (length: number, most: number): ChatError =>
  new ChatError("too_long", `this is ${length} bytes long, and ${most} may be sent`);

export const asChatError = (error: unknown, code: string, temporary: boolean): ChatError =>
  error instanceof ChatError
    ? error
    : new ChatError(code, error instanceof Error ? error.message : String(error), { temporary });

/** Whether a cause may go away by itself while the connection lives. */
export const worthWaiting = (error: unknown): error is ChatError =>
  error instanceof ChatError && error.temporary && error.code !== "disconnected";
