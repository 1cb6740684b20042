import { homedir } from "node:os";
import { EXIT_CODES } from "../exit-codes.ts";
import { displayOn, logFormat } from "./display.ts";
import { ENGINE_HELP, engineChoice } from "./engine-flags.ts";
import { type Command, flag, text, type Values } from "./shared/command.ts";
import { secretOf } from "./shared/secrets.ts";
import { flagsOf } from "./shared/settings.ts";
import { stopOnSignal } from "./shared/stop-signal.ts";
import { UsageError } from "./shared/usage-error.ts";
import { defaultStateDir, workerFolders } from "./state-folders.ts";
import { readTokenFile } from "./token-file.ts";
import { poolOf, type WorkerProgram } from "./worker-program.ts";

/** How long a worker may take to end after the process that started it is gone. */
const ORPHAN_MS = 2_000;

/** How long pending writes may take after a worker has ended. */
const EXIT_MS = 1_000;

/** `start`: serves a pool until it is stopped. */
export function workerStart(program: WorkerProgram): Command {
  return {
    summary: "Serve a pool with this machine until Ctrl-C.",
    usage:
      "--pool URL --token-file FILE [--model M]… [--slots N] [--engine upstream --upstream-url URL] [--state DIR] [--insecure] [--log text|json] [--quiet]",
    help: [
      "--pool URL         the pool to serve",
      "--token-file FILE  the file with the token of your invite (default: the variable LIGAND_WORKER_TOKEN)",
      "--state DIR        the worker's key and measurements (default: ~/.local/state/ligand/worker/TOKEN-ID)",
      "--insecure         allow plain HTTP to a pool on another machine; others on the network can then read all prompts",
      "                   and answers",
      "--log text|json    print sentences, or one JSON object per line (default: a live line in a terminal, else sentences)",
      "--quiet            print only warnings and errors",
      "--json             the same as --log json",
      "",
      "What runs inference:",
      ...ENGINE_HELP,
      "",
      "Exit codes: 3 the pool refuses the token, 4 the token has expired, 5 this worker is too old for the pool, 6 the",
      "pool of the invite cannot be reached at that URL. If the pool stops later, the worker waits for it.",
    ],
    options: {
      ...flagsOf("any", ["pool"]),
      ...flagsOf("worker"),
      recalibrate: { type: "boolean" },
      json: { type: "boolean" },
    },
    positionals: { min: 0, max: 0 },
    async run(values) {
      const log = flag(values, "json") ? "json" : logFormat(text(values, "log"));
      const token = workerToken(values);
      const engine = engineChoice(values, process.env);
      const signal = stopSignal();
      // Imported only here, because it loads the model runtime.
      const { runAgent } = await import("../agent.ts");
      const display = displayOn(
        process.stdout,
        { log, quiet: flag(values, "quiet"), terminal: process.env.TERM },
        Date.now,
      );
      // A second stop signal ends the process immediately; the terminal must be restored then too.
      process.once("exit", () => display.close());
      const { code } = await runAgent({
        poolUrl: poolOf(program, values),
        token,
        ...workerFolders(defaultStateDir(process.env, homedir()), token, text(values, "state")),
        ...engine,
        allowInsecure: flag(values, "insecure"),
        signal,
        onEvent: (event) => display.event(event),
        onStatus: (status) => display.status(status),
      });
      display.close();
      // A cancelled download may still retry inside its library. Do not wait for it.
      setTimeout(() => process.exit(), EXIT_MS).unref();
      return EXIT_CODES[code];
    },
  };
}

function workerToken(values: Values): string {
  const file = text(values, "token-file");
  if (file !== undefined) return readTokenFile(file);
  const token = secretOf("worker-token", process.env);
  if (!token) throw new UsageError("No token is given. Give --token-file FILE or set LIGAND_WORKER_TOKEN.");
  return token;
}

/** Aborts when the worker is asked to stop, or when the process that started it is gone. */
function stopSignal(): AbortSignal {
  const { signal } = stopOnSignal();
  if (process.channel === undefined || process.channel === null) return signal;
  process.channel.unref();
  const orphaned = new AbortController();
  process.once("disconnect", () => {
    orphaned.abort();
    setTimeout(() => process.exit(1), ORPHAN_MS).unref();
  });
  return AbortSignal.any([signal, orphaned.signal]);
}
