#!/usr/bin/env node
// The entry of `ligand-worker`. Checks Node's version before any module that an old Node cannot load.
import "./node-version.mjs";

import("./main.ts");
