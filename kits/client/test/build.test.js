// What is committed is what the source gives.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { minify } from "terser";

const root = path.join(import.meta.dirname, "..");
const read = (...names) => readFile(path.join(root, ...names), "utf8");

test("npm run build gives dist/, and the chat's page has it", async () => {
  const out = await mkdtemp(path.join(tmpdir(), "holdfast-client"));
  try {
    execFileSync(process.execPath, [path.join(root, "node_modules/typescript/bin/tsc"), "-p", root, "--outDir", out], { stdio: "inherit" });
    for (const name of ["index.js", "index.d.ts"]) {
      assert.equal(await readFile(path.join(out, name), "utf8"), await read("dist", name), `dist/${name} is stale: npm run build`);
    }
  } finally {
    await rm(out, { recursive: true });
  }
  assert.equal(await read("../../examples/chat/chat/page/client.js"), await read("dist/index.js"), "the chat's client.js is stale: npm run build");
});

test("it is small", async () => {
  const { code } = await minify(await read("dist/index.js"), { module: true });
  assert.ok(code.length < 6 << 10, `${code.length} bytes minified`);
});
