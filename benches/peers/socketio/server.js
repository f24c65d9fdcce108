// The Socket.IO server that `scripts/compare` measures: rooms, WebSocket transport only, and the settings
// that cost least. With REDIS_URL it is one of several processes over @socket.io/redis-adapter.
//
// `sub` joins a room, `pub` sends to one room or to several; both are acknowledged when asked for.

"use strict";

// The pure JavaScript of `ws` is as fast for messages this small, and needs no compiler.
process.env.WS_NO_BUFFER_UTIL = "1";
process.env.WS_NO_UTF_8_VALIDATE = "1";

const { createServer } = require("node:http");
const { Server } = require("socket.io");

async function main() {
  const http = createServer();
  const io = new Server(http, {
    transports: ["websocket"],
    perMessageDeflate: false,
    httpCompression: false,
    serveClient: false,
    pingInterval: Number(process.env.PING_INTERVAL || 25000),
    pingTimeout: 20000,
    maxHttpBufferSize: 1e6,
  });
  if (process.env.REDIS_URL) {
    const { createClient } = require("redis");
    const { createAdapter } = require("@socket.io/redis-adapter");
    const publisher = createClient({ url: process.env.REDIS_URL });
    const subscriber = publisher.duplicate();
    await Promise.all([publisher.connect(), subscriber.connect()]);
    io.adapter(createAdapter(publisher, subscriber));
  }
  io.on("connection", (socket) => {
    // What the first HTTP request held is not needed again.
    socket.conn.request = null;
    socket.on("sub", (room, done) => {
      const joined = socket.join(room);
      if (done) {
        Promise.resolve(joined).then(() => done());
      }
    });
    socket.on("pub", (room, body, done) => {
      io.to(room).emit("m", body);
      if (done) {
        done();
      }
    });
  });
  http.listen(Number(process.env.PORT || 0), "127.0.0.1", () => {
    console.log(`listening  127.0.0.1:${http.address().port}`);
  });
}

main();
