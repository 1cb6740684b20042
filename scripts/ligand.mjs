#!/usr/bin/env node
// The entry of `ligand`. Checks Node's version before any module that an old Node cannot load.
import "../worker-agent/cli/node-version.mjs";

import("./ligand.ts");
