"use strict";
// Serves the page of ../chat, with the same headers as the Go server.

const fs = require("fs");
const path = require("path");

const types = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml" };
const headers = {
  "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cache-Control": "no-cache",
};

// All files are read at the start; nothing else can be requested.
const directory = path.join(__dirname, "../chat/chat/page");
const names = fs.readdirSync(directory).filter((name) => path.extname(name) in types);
const files = new Map(names.map((name) => {
  const file = { type: types[path.extname(name)], content: fs.readFileSync(path.join(directory, name)) };
  return [name === "index.html" ? "/" : `/${name}`, file];
}));

function servePage(request, response) {
  const file = files.get(request.url.split("?", 1)[0]);
  if (!file || !["GET", "HEAD"].includes(request.method)) return response.writeHead(404).end();
  response.writeHead(200, { ...headers, "Content-Type": `${file.type}; charset=utf-8` }).end(file.content);
}

module.exports = { servePage };
