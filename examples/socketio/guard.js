"use strict";
// Ends what start.js has started if start.js is killed and can't do that itself:
//
//   node guard.js FOLDER
//
// It reads "started PID" and "ended PID" from its standard input, which ends with start.js.
// Then it kills what is left, and removes the folder.

const fs = require("fs");
const { createInterface } = require("readline");

const running = new Set();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {}); // Ctrl-C is for start.js

createInterface(process.stdin)
  .on("line", (line) => {
    const [what, pid] = line.split(" ");
    if (what === "started") running.add(Number(pid));
    else running.delete(Number(pid));
  })
  .on("close", () => {
    for (const pid of running) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {} // it has ended
    }
    fs.rmSync(process.argv[2], { recursive: true, force: true, maxRetries: 5 });
    process.exit(0);
  });
