import { availableParallelism, cpus, totalmem } from "node:os";
import { type Command, EXIT, flag, text } from "../worker-agent/cli/shared/command.ts";
import { runCommand } from "../worker-agent/cli/shared/run-command.ts";
import { UsageError } from "../worker-agent/cli/shared/usage-error.ts";
import { ATTACK_BENCH } from "./bench/attack-measurements.ts";
import { FEDERATION_BENCHES } from "./bench/federation-measurements.ts";
import { INBOX_BENCHES } from "./bench/inbox-measurements.ts";
import { INFERENCE_BENCHES } from "./bench/measurements.ts";
import type { Row } from "./bench/row.ts";

const BENCHES = [...INFERENCE_BENCHES, ...FEDERATION_BENCHES, ...INBOX_BENCHES, ATTACK_BENCH];

/** `npm run bench`: measures this pool and the software that it is compared with in the same run. No measurement is a test. */
const bench: Command = {
  summary: "Measure a pool on this machine, side by side with other software, and print a table.",
  usage: "[--only NAME] [--json]",
  help: [
    `--only NAME  one of: ${BENCHES.map(({ name }) => name).join(", ")}`,
    "--json       print one JSON line instead of the table",
  ],
  options: { only: { type: "string" }, json: { type: "boolean" } },
  positionals: { min: 0, max: 0 },
  async run(values) {
    const only = text(values, "only");
    const chosen = BENCHES.filter(({ name }) => only === undefined || name === only);
    if (chosen.length === 0)
      throw new UsageError(
        `There is no measurement "${only}". The measurements are: ${BENCHES.map(({ name }) => name).join(", ")}.`,
      );
    const rows: Row[] = [];
    let failed = false;
    for (const { name, run } of chosen) {
      console.error(`${name} …`);
      try {
        rows.push(...(await run((line) => console.error(`  ${line}`))));
      } catch (error) {
        // A failed measurement does not affect the others.
        console.error(`  failed: ${error instanceof Error ? error.message : String(error)}`);
        failed = true;
      }
    }
    const machine = `${availableParallelism()} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`;
    if (flag(values, "json")) console.log(JSON.stringify({ machine, at: new Date().toISOString(), rows }));
    else console.log(table(machine, rows));
    return failed ? EXIT.failed : EXIT.ok;
  },
};

function table(machine: string, rows: Row[]): string {
  const lines = rows.map(({ what, value, unit, target, met, detail }) => {
    const shown = `${value.toLocaleString("en")} ${unit}`;
    return `| ${what} | ${shown} | ${target} | ${met ? "yes" : "no"} | ${detail} |`;
  });
  return [
    machine,
    "",
    "| what | measured | target | met | details |",
    "| --- | --- | --- | --- | --- |",
    ...lines,
  ].join("\n");
}

process.exit(await runCommand(bench, "npm run bench --", process.argv.slice(2)));
