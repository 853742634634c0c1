"use strict";
// The page of ../chat, under the same rules as there.

const fs = require("fs");
const path = require("path");

const directory = path.join(__dirname, "../chat/chat/page");
const types = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};
const headers = {
  "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cache-Control": "no-cache",
};

// files are read once: what isn't among them can't be asked for.
const files = new Map();
for (const file of fs.readdirSync(directory)) {
  const type = types[path.extname(file)];
  if (type) files.set(file === "index.html" ? "/" : `/${file}`, { type, content: fs.readFileSync(path.join(directory, file)) });
}

function servePage(request, response) {
  const file = files.get(request.url.split("?", 1)[0]);
  if (!file || !["GET", "HEAD"].includes(request.method)) return response.writeHead(404).end();
  response.writeHead(200, { ...headers, "Content-Type": file.type }).end(request.method === "GET" ? file.content : undefined);
}

module.exports = { servePage };
