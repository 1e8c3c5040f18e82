// What a token says by itself, and when another one is needed.

import type { ChatError } from "../../sdk/src";

// subject is the user that a token names, or undefined if this cannot be a token. Only the
// server checks it.
export function subject(token: string): string | undefined {
  try {
    const payload = (token.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(payload), (c) => c.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown };
    return typeof sub === "string" ? sub : undefined;
  } catch {
    return undefined;
  }
}

const CODES = new Set<string | number | undefined>(["unauthorized", "bad_token", 401, 4501, 4502]);

// needsToken says whether a refusal, or the end of a connection, asks for another token.
export const needsToken = (error?: Pick<ChatError, "code" | "closeCode">, code?: number): boolean =>
  CODES.has(error?.code) || CODES.has(error?.closeCode) || CODES.has(code);
