#!/usr/bin/env node
import { realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { AGENT_VERSION } from "../version.ts";
import { typedWorkerCommand } from "./shared/called-as.ts";
import { IS_PACKAGE } from "./shared/is-package.ts";
import { runCommand } from "./shared/run-command.ts";
import { flushStdout, handleUncaughtErrors } from "./shared/uncaught-errors.ts";
import { workerCommands } from "./worker-commands.ts";

/** The program `ligand-worker`: the worker's commands without a pool. */

const PROGRAM = realpathSync(fileURLToPath(import.meta.url));

const args = process.argv.slice(2);
if (args[0] === "--version") {
  handleUncaughtErrors();
  console.log(AGENT_VERSION);
  await flushStdout();
} else {
  const name = typedWorkerCommand(IS_PACKAGE, process.argv[1] ?? PROGRAM, process.env);
  process.exitCode = await runCommand(workerCommands({ argv: [PROGRAM] }), name, args);
}
