// HTTP with Node's http, fetch and http2, as they come: `http_client.js URL URL_OF_HTTP2 APP`.
"use strict";
const http = require("node:http");
const http2 = require("node:http2");

const [url, url2, app] = process.argv.slice(2);
const body = "söme text ".repeat(10000);

function right(headers, got, wanted) {
  if (!headers["x-seen-request-id"]) return "no x-request-id came to the app: it was not called through the mesh";
  if (headers["x-app"] !== app) return `x-app: ${headers["x-app"]}`;
  return got === wanted ? "" : `${got.slice(0, 200)} instead of ${wanted.slice(0, 200)}`;
}

function plain(path, data, agent) {
  return new Promise((done, fail) => {
    const request = http.request(url + path, { method: data ? "POST" : "GET", agent, timeout: 20000 }, (response) => {
      let got = "";
      response.setEncoding("utf8");
      response.on("data", (more) => (got += more));
      response.on("error", fail);
      response.on("end", () => done(right(response.headers, got, data || `hello from ${app}`)));
    });
    request.on("timeout", () => request.destroy(new Error("20 s without an answer")));
    request.on("error", fail);
    request.end(data);
  });
}

async function fetched(path, data) {
  const response = await fetch(url + path, { method: data ? "POST" : "GET", body: data, signal: AbortSignal.timeout(20000) });
  return right(Object.fromEntries(response.headers), await response.text(), data || `hello from ${app}`);
}

function multiplexed(count) {
  return new Promise((done, fail) => {
    const session = http2.connect(url2);
    session.on("error", fail);
    session.setTimeout(20000, () => session.destroy(new Error("20 s without an answer")));
    let left = count;
    let wrong = "";
    for (let n = 0; n < count; n++) {
      const stream = session.request({ ":method": "POST", ":path": "/echo" });
      let got = "";
      let headers = {};
      stream.setEncoding("utf8");
      stream.on("response", (seen) => (headers = seen));
      stream.on("data", (more) => (got += more));
      stream.on("error", fail);
      stream.on("end", () => {
        wrong = wrong || right(headers, got, body);
        if (--left === 0) session.close(() => done(wrong));
      });
      stream.end(body);
    }
  });
}

async function check(name, look) {
  let wrong;
  try {
    wrong = await look();
  } catch (error) {
    wrong = `${error.stack} ${error.cause || ""}`;
  }
  console.log(JSON.stringify({ check: name, wrong }));
}

async function main() {
  await check("node http, GET", () => plain("/hello"));
  await check("node http, POST", () => plain("/echo", body));
  await check("node http, 20 GETs on a kept connection", async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (let n = 0; n < 20; n++) {
      const wrong = await plain("/hello", undefined, agent);
      if (wrong) return wrong;
    }
    agent.destroy();
    return "";
  });
  await check("node fetch, GET", () => fetched("/hello"));
  await check("node fetch, POST", () => fetched("/echo", body));
  await check("node http2, 20 streams", () => multiplexed(20));
}

main();
