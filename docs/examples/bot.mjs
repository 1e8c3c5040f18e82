// A bot that greets whoever asks for it: node bot.mjs
import { Chat } from "./chat.mjs"; // curl -so chat.mjs http://localhost:8080/sdk/chat.js

// Node.js has one from 22 on. Before that: npm install ws, or do without and hear the room over SSE.
const WebSocket = globalThis.WebSocket ?? (await import("ws").catch(() => ({}))).default;

const chat = new Chat("http://localhost:8080", { user: "bot", WebSocket });
const room = chat.room("lobby", { history: 0 }); // what was said before it came is not answered

chat.on("state", ({ state, final, error }) => {
  console.log(state, error?.message ?? "");
  if (final) process.exit(1); // it does not come back by itself
});

room.on("message", async ({ pos, from, data }) => {
  if (from === "bot" || data?.text !== "!hello") return;
  // The key names the question, so this bot started again, or a second one, does not answer it twice.
  await room.send(`Hello, ${from}!`, { key: `re-${pos}`, replyTo: pos }).catch(console.error);
});

await room.join();
console.log(`in ${room.name}, over ${chat.session.transport}`);
