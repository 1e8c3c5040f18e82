"use strict";

const { createServer } = require("node:http");
const { parseArgs } = require("node:util");
const { createShardedAdapter } = require("@socket.io/redis-adapter");
const { createClient } = require("redis");
const { Server } = require("socket.io");

const { values: flags } = parseArgs({ options: { listen: { type: "string" }, redis: { type: "string" } } });

// "For new developments, we recommend using the sharded adapter, which takes advantage
// of the sharded Pub/Sub feature introduced in Redis 7.0"
// (https://socket.io/docs/v4/redis-adapter/). "dynamic" is its default: a node hears of
// those rooms alone in which it has members.
async function adapter(url) {
	const publisher = createClient({ url });
	const subscriber = publisher.duplicate();
	await Promise.all([publisher.connect(), subscriber.connect()]);
	return createShardedAdapter(publisher, subscriber, { subscriptionMode: "dynamic" });
}

async function main() {
	const httpServer = createServer();
	const io = new Server(httpServer, {
		// Without long polling no node need see a client twice, and round robin is enough
		// (https://socket.io/docs/v4/using-multiple-nodes/#disabling-http-long-polling).
		transports: ["websocket"],
		perMessageDeflate: false, // the default, by reason of its price
		serveClient: false,
		...(flags.redis && { adapter: await adapter(flags.redis) }),
	});
	// https://socket.io/docs/v4/memory-usage/
	io.engine.on("connection", (rawSocket) => {
		rawSocket.request = null;
	});

	io.on("connection", (socket) => {
		socket.on("join", async (room) => {
			await socket.join(room);
			socket.emit("joined");
		});
		socket.on("publish", (room, data, ack) => {
			io.to(room).emit("message", data);
			ack();
		});
	});

	const [, host, port] = /^(.*):(\d+)$/.exec(flags.listen ?? "127.0.0.1:9404");
	httpServer.listen(Number(port), host, () => {
		const bound = httpServer.address();
		console.log(`listening on ${bound.address}:${bound.port}`);
	});
}

main();
