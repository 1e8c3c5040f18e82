// A login service: it knows who is logged in, and signs the tokens that the chat believes. node login.mjs
import { createHmac, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { json } from "node:stream/consumers";

const { PORT = "3000", SECRET_FILE = "secret" } = process.env;
const secret = readFileSync(SECRET_FILE, "utf8").trim(); // what the nodes have as CHATRING_AUTH_SECRET_FILE
const passwords = { alice: "wonderland", bob: "builder" }; // yours are hashed, in a database
const sessions = new Map(); // who has logged in, by cookie

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
function token(sub) {
  const iat = Math.floor(Date.now() / 1000);
  const grants = [{ rooms: "*", may: "write" }]; // in which rooms this user may do what
  const claims = { sub, iat, exp: iat + 600, iss: `http://localhost:${PORT}`, aud: "chat", grants };
  const text = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

createServer(async (request, response) => {
  const cookie = /(?:^|; )session=([\w-]+)/.exec(request.headers.cookie)?.[1];
  const asked = `${request.method} ${request.url}`;
  if (asked === "GET /") {
    response.setHeader("Content-Type", "text/html").end(readFileSync(new URL("login.html", import.meta.url)));
  } else if (asked === "POST /login") {
    const { user, password } = await json(request).catch(() => ({}));
    if (!Object.hasOwn(passwords, user) || passwords[user] !== password) return response.writeHead(401).end();
    const id = randomUUID();
    sessions.set(id, user);
    response.setHeader("Set-Cookie", `session=${id}; HttpOnly; SameSite=Strict`).end();
  } else if (asked === "POST /token" && sessions.has(cookie)) {
    response.end(token(sessions.get(cookie)));
  } else {
    response.writeHead(asked === "POST /token" ? 401 : 404).end();
  }
}).listen(PORT, () => console.log(`log in at http://localhost:${PORT}`));
