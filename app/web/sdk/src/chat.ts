// The chatring client: docs/protocol.md for programs, without its details.

export { Chat } from "./client.js";
export { ChatError } from "./errors.js";
export type { Friends } from "./friends.js";
export { compare } from "./position.js";
export type { Room } from "./room.js";
export type * from "./types.js";
