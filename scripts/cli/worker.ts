import { homedir } from "node:os";
import { stopOnSignal } from "../runtime/stop-signal.ts";
import { poolUrl } from "./access.ts";
import { type Command, flag, type Group, text, type Values } from "./command.ts";
import { secretOf } from "./secrets.ts";
import { flagsOf } from "./settings.ts";
import { UsageError } from "./usage-error.ts";
import { displayOn, logFormat } from "./worker-display.ts";
import { ENGINE_HELP, engineChoice } from "./worker-engine.ts";
import { workerInstall, workerUninstall } from "./worker-install.ts";
import { workerProfileCommand } from "./worker-profile.ts";
import { defaultStateDir, workerFolders } from "./worker-state-dir.ts";
import { workerStatus } from "./worker-status.ts";
import { readTokenFile } from "./worker-token.ts";

/** Once whoever started this agent is gone there is nobody left to drain for. */
const ORPHAN_MS = 2_000;

/** What is still to be written when a worker has ended is written by then. */
const EXIT_MS = 1_000;

const start: Command = {
  summary: "Serve a pool with this machine, until Ctrl-C.",
  usage:
    "--pool URL --token-file FILE [--model M]… [--slots N] [--engine upstream --upstream-url URL] [--state DIR] [--insecure] [--log text|json] [--quiet]",
  help: [
    "--pool URL         the pool to serve",
    "--token-file FILE  the invite's token; else LIGAND_WORKER_TOKEN",
    "--state DIR        this worker's key and measurements (default: ~/.local/state/ligand/worker/TOKEN-ID)",
    "--insecure         plain HTTP to another machine's pool: others on the way can read what is asked and answered",
    "--log text|json    sentences, or a JSON object a line; by default a live line in a terminal, sentences elsewhere",
    "--quiet            only what went wrong",
    "--json             the same as --log json",
    "",
    "What runs inference:",
    ...ENGINE_HELP,
    "",
    "Exits with 3 when the pool refuses the token, 4 when the token has expired, 5 when this agent is too old,",
    "6 when the pool of the invite cannot be reached at that URL; one that was reached and goes away is waited for.",
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
    // Loaded only here: the operator's commands need no model runtime.
    const { EXIT_CODES, runAgent } = await import("../../worker-agent/agent.ts");
    const display = displayOn(
      process.stdout,
      { log, quiet: flag(values, "quiet"), terminal: process.env.TERM },
      Date.now,
    );
    // Also when asked twice to end, which ends at once.
    process.once("exit", () => display.close());
    const { code } = await runAgent({
      poolUrl: poolUrl(withoutState(values)),
      token,
      ...workerFolders(defaultStateDir(process.env, homedir()), token, text(values, "state")),
      ...engine,
      allowInsecure: flag(values, "insecure"),
      signal,
      onEvent: (event) => display.event(event),
      onStatus: (status) => display.status(status),
    });
    display.close();
    // A download that was given up may go on trying inside its library; nobody waits for it.
    setTimeout(() => process.exit(), EXIT_MS).unref();
    return EXIT_CODES[code];
  },
};

function workerToken(values: Values): string {
  const file = text(values, "token-file");
  if (file !== undefined) return readTokenFile(file);
  const token = secretOf("worker-token", process.env);
  if (!token) throw new UsageError("Which token? Give --token-file FILE or set LIGAND_WORKER_TOKEN.");
  return token;
}

/** `--state` is the worker's own folder here, not one where credentials lie. */
function withoutState(values: Values): Values {
  const { state: _state, ...rest } = values;
  return rest;
}

/** Aborts when the agent is asked to end, or when whoever started it has gone. */
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

/** `ligand worker …`: what the owner of a machine does. */
export const worker: Group = {
  summary: "Serve a pool with this machine.",
  commands: {
    start,
    status: workerStatus,
    profile: workerProfileCommand,
    install: workerInstall(start),
    uninstall: workerUninstall,
  },
};
