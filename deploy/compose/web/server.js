// GET /hello/NAME   what the greeter says, asked over gRPC by its name in the mesh
// GET /titles/NAME  what the greeter asks us for
// GET /health

const path = require("node:path");
const express = require("express");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const { greeter } = grpc.loadPackageDefinition(loader.loadSync(path.join(__dirname, "greeter.proto")));
const client = new greeter.Greeter(process.env.GREETER, grpc.credentials.createInsecure());

const titles = { Ada: "Countess", Alan: "Dr." };
const app = express();

app.get("/health", (request, response) => response.send("well\n"));

app.get("/titles/:name", (request, response) => response.send(titles[request.params.name] ?? ""));

app.get("/hello/:name", (request, response) => {
  client.greet({ name: request.params.name }, (error, answer) => {
    if (error) response.status(502).send(`${error.message}\n`);
    else response.send(`${answer.text}\n`);
  });
});

const server = app.listen(Number(process.env.PORT), () => console.log(`web listens on ${process.env.PORT}`));

// Finish what is under way, then end.
process.on("SIGTERM", () => server.close(() => process.exit(0)));
