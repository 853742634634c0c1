"use strict";
// Serves the files of page/, with strict headers.

const fs = require("fs");
const path = require("path");

const types = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml" };
const headers = {
  "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cache-Control": "no-cache",
};

// All files are read at the start; nothing else can be requested. socket.io serves its
// client itself, at /socket.io/socket.io.js.
const directory = path.join(__dirname, "page");
const files = new Map(fs.readdirSync(directory).map((name) => {
  const file = { type: types[path.extname(name)], content: fs.readFileSync(path.join(directory, name)) };
  return [name === "index.html" ? "/" : `/${name}`, file];
}));
files.set("/member.js", { type: types[".js"], content: fs.readFileSync(path.join(__dirname, "member.js")) });

function servePage(request, response) {
  const file = files.get(request.url.split("?", 1)[0]);
  if (!file || !["GET", "HEAD"].includes(request.method)) return response.writeHead(404).end();
  response.writeHead(200, { ...headers, "Content-Type": `${file.type}; charset=utf-8` }).end(file.content);
}

module.exports = { servePage };
