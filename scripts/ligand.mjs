#!/usr/bin/env node
// The command line's entry: an old Node stops at the first import with a sentence, before it would stumble over a .ts file.
import "./node-version.mjs";

if (import.meta.url.includes("/node_modules/")) {
  console.error(
    "Node runs no .ts file below node_modules. Clone Ligand's repository, run npm ci there, and use it from there.",
  );
  process.exit(1);
}
import("./ligand.ts");
