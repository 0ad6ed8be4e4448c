// An HTTP/2 server without TLS (prior knowledge): `h2_app.js ADDRESS PORT NAME`. It sends bodies back, and says what came.
"use strict";
const http2 = require("node:http2");

const [address, port, name] = process.argv.slice(2);
const server = http2.createServer();
server.on("stream", (stream, headers) => {
  stream.on("error", () => {});
  stream.respond({
    ":status": 200,
    "x-app": name,
    "x-seen-request-id": headers["x-request-id"] || "",
    "x-seen-host": headers[":authority"] || headers.host || "",
  });
  if (headers[":method"] === "GET") stream.end(`hello from ${name}`);
  else stream.pipe(stream);
});
server.listen(Number(port), address, () => console.log("up"));
