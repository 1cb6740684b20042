import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Command, EXIT } from "../worker-agent/cli/shared/command.ts";
import { runCommand } from "../worker-agent/cli/shared/run-command.ts";
import { stopOnSignal } from "../worker-agent/cli/shared/stop-signal.ts";
import { jsonLine, oneLine } from "../worker-agent/terminal-text.ts";
import { DemoPool } from "./demo/demo-pool.ts";
import { runFederationSteps, type Three } from "./demo/federation-steps.ts";

/**
 * `npm run demo:federation`: three pools become peers, two of them bond, one turns federation off and on, and one is stopped
 * and started again. Everything is temporary. The last line reports what converged and how fast. The exit code is 0 only if
 * every step succeeded.
 */

const TOTAL_MS = 4 * 60_000;

const demo: Command = {
  summary: "Run three temporary pools on loopback that bond, lose the connection and converge.",
  usage: "[--log]",
  help: ["--log  print the logs of the pools and their workers on stderr"],
  options: { log: { type: "boolean" } },
  positionals: { min: 0, max: 0 },
  run: (values) => show(values.log === true),
};

// Exit at once: idle connections would keep the process alive for another second.
process.exit(await runCommand(demo, "npm run demo:federation --", process.argv.slice(2)));

async function show(withLog: boolean): Promise<number> {
  const stop = stopOnSignal();
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(TOTAL_MS)]);
  const folder = await mkdtemp(join(tmpdir(), "ligand-federation-"));
  const log = (line: string) => withLog && console.error(oneLine(line));
  const pools = ["Alder", "Birch", "Cedar"].map((name) => new DemoPool(name, { folder, log, signal }));
  try {
    const outcome = await runFederationSteps(pools as Three, signal, (line) => console.error(line));
    console.log(jsonLine({ ok: true, ...outcome }));
    return EXIT.ok;
  } catch (error) {
    const message = stop.signal.aborted ? "interrupted" : error instanceof Error ? error.message : String(error);
    console.log(jsonLine({ ok: false, error: message }));
    return EXIT.failed;
  } finally {
    await Promise.allSettled(pools.map((pool) => pool.stop()));
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
