import { type Command, EXIT, flag, text } from "../worker-agent/cli/shared/command.ts";
import { integer } from "../worker-agent/cli/shared/number-flags.ts";
import { runCommand } from "../worker-agent/cli/shared/run-command.ts";
import { pluralize } from "../worker-agent/pluralize.ts";
import { type SimulationResult, simulate } from "./simulate/simulation.ts";

/** `npm run simulate`: simulated pools follow one another's logs while messages, clocks and processes fail. */

const SEEDS = 3_000;
const POOLS = 5;
const FAILURES_SHOWN = 20;
const PROGRESS_WORLDS = 500;

interface Report {
  first: number;
  seeds: number;
  pools: number;
  seconds: number;
  events: number;
  crashes: number;
  reached: Record<string, number>;
  failures: { seed: number; violation: string | null; replay: string }[];
}

const command: Command = {
  summary:
    "Simulate event sync between pools on a bad network. Each seed is one world. Every message and the final state are checked.",
  usage: "[--seeds N] [--first S] [--pools N] [--trace] [--json]",
  help: [
    `--seeds N  the number of worlds (default ${SEEDS})`,
    "--first S  the first seed (default 0); a seed always gives the same world",
    `--pools N  the number of pools in each world (default ${POOLS})`,
    "--trace    print what happens, step by step",
    "--json     print one JSON line instead of the summary",
  ],
  options: {
    seeds: { type: "string" },
    first: { type: "string" },
    pools: { type: "string" },
    trace: { type: "boolean" },
    json: { type: "boolean" },
  },
  positionals: { min: 0, max: 0 },
  async run(values) {
    const seeds = integer("seeds", text(values, "seeds"), 1, 100_000_000) ?? SEEDS;
    const first = integer("first", text(values, "first"), 0, 2 ** 31 - 1) ?? 0;
    const pools = integer("pools", text(values, "pools"), 2, 26) ?? POOLS;
    const trace = flag(values, "trace") ? (line: string) => console.error(line) : undefined;
    const report: Report = { first, seeds, pools, seconds: 0, events: 0, crashes: 0, reached: {}, failures: [] };
    const startedMs = performance.now();
    for (let done = 0; done < seeds; done++) {
      if (done > 0 && done % PROGRESS_WORLDS === 0)
        console.error(`${done} of ${pluralize(seeds, "world")}, ${report.failures.length} failed`);
      add(report, simulate({ seed: first + done, pools, ...(trace && { trace }) }));
    }
    report.seconds = Math.round((performance.now() - startedMs) / 100) / 10;
    console.log(flag(values, "json") ? JSON.stringify(report) : summary(report));
    return report.failures.length === 0 ? EXIT.ok : EXIT.failed;
  },
};

function add(report: Report, { seed, violation, events, crashes, reached }: SimulationResult): void {
  report.events += events;
  report.crashes += crashes;
  for (const [what, times] of Object.entries(reached)) report.reached[what] = (report.reached[what] ?? 0) + times;
  if (violation === null) return;
  const replay = `npm run simulate -- --seeds 1 --first ${seed} --pools ${report.pools} --trace`;
  report.failures.push({ seed, violation, replay });
}

function summary({ first, seeds, pools, seconds, events, crashes, reached, failures }: Report): string {
  return [
    ...Object.entries(reached)
      .sort(([, a], [, b]) => b - a)
      .map(([what, times]) => `${String(times).padStart(9)}  ${what}`),
    "",
    `${pluralize(seeds, "world")} of ${pools} pools starting at seed ${first}, in ${seconds} s: ${events} events, ${crashes} crashes`,
    ...failures
      .slice(0, FAILURES_SHOWN)
      .map(({ seed, violation, replay }) => `\nseed ${seed}: ${violation}\n  ${replay}`),
    failures.length === 0 ? "Every check passed." : `${pluralize(failures.length, "world")} failed.`,
  ].join("\n");
}

process.exitCode = await runCommand(command, "npm run simulate --", process.argv.slice(2));
