import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Command, EXIT } from "../worker-agent/cli/shared/command.ts";
import { runCommand } from "../worker-agent/cli/shared/run-command.ts";
import { stopOnSignal } from "../worker-agent/cli/shared/stop-signal.ts";
import { jsonLine, oneLine } from "../worker-agent/terminal-text.ts";
import { DemoPool } from "./demo/demo-pool.ts";
import { runInboxSteps } from "./demo/inbox-steps.ts";

/**
 * `npm run demo:inbox`: two pools whose admins ask each other. Everything is temporary. The last line says what each step
 * answered. The exit code is 0 only if each step answered as docs/spec/federation.md#admin-requests says.
 */

const TOTAL_MS = 3 * 60_000;

const demo: Command = {
  summary: "Run two temporary pools on loopback whose admins ask each other: reads, writes, refusals and an override.",
  usage: "[--log]",
  help: ["--log  print the logs of the pools on stderr"],
  options: { log: { type: "boolean" } },
  positionals: { min: 0, max: 0 },
  run: (values) => show(values.log === true),
};

// Exit at once: idle connections would keep the process alive for another second.
process.exit(await runCommand(demo, "npm run demo:inbox --", process.argv.slice(2)));

async function show(withLog: boolean): Promise<number> {
  const stop = stopOnSignal();
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(TOTAL_MS)]);
  const folder = await mkdtemp(join(tmpdir(), "ligand-inbox-"));
  const log = (line: string) => withLog && console.error(oneLine(line));
  const pools = ["Alder", "Birch"].map((name) => new DemoPool(name, { folder, log, signal })) as [DemoPool, DemoPool];
  try {
    const steps = await runInboxSteps(...pools, signal, (line) => console.error(line));
    console.log(jsonLine({ ok: true, ...steps }));
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
