import { type Command, EXIT, flag, text } from "../worker-agent/cli/shared/command.ts";
import { integer } from "../worker-agent/cli/shared/number-flags.ts";
import { runCommand } from "../worker-agent/cli/shared/run-command.ts";
import { UsageError } from "../worker-agent/cli/shared/usage-error.ts";
import { type FuzzReport, fuzz } from "./fuzz/run.ts";
import { PARTS, type Part } from "./fuzz/target.ts";

/** `npm run fuzz`: sends valid, nearly valid and hostile input to a real pool. */

const CASES = 100_000;
const SHARES: Record<Part, number> = { client: 0.5, agent: 0.3, peer: 0.15, admin: 0.05 };

const command: Command = {
  summary: "Send valid, nearly valid and hostile bodies and frames to a temporary pool, and check its answers.",
  usage: "[--cases N] [--seed N] [--only PART] [--json]",
  help: [
    `--cases N    how many (default ${CASES})`,
    "--seed N     the same seed sends the same input",
    `--only PART  one of: ${PARTS.join(", ")}`,
    "--json       print one JSON line instead of the summary",
  ],
  options: {
    cases: { type: "string" },
    seed: { type: "string" },
    only: { type: "string" },
    json: { type: "boolean" },
  },
  positionals: { min: 0, max: 0 },
  async run(values) {
    const only = text(values, "only");
    if (only !== undefined && !PARTS.some((part) => part === only)) throw new UsageError(`There is no part "${only}".`);
    const total = integer("cases", text(values, "cases"), 1, 100_000_000) ?? CASES;
    const seed = integer("seed", text(values, "seed"), 0, 2 ** 31 - 1) ?? Math.floor(Math.random() * 2 ** 31);
    const share = (part: Part) => Math.ceil(total * (only === undefined ? SHARES[part] : Number(only === part)));
    const cases = { client: share("client"), agent: share("agent"), peer: share("peer"), admin: share("admin") };
    console.error(`seed ${seed}`);
    const report = await fuzz({ cases, seed, progress: (line) => console.error(line) });
    console.log(flag(values, "json") ? JSON.stringify(report) : summary(report));
    return report.findings.length === 0 ? EXIT.ok : EXIT.failed;
  },
};

function summary({ seed, seconds, cases, outcomes, bystandersServed, workerdMiB, findings }: FuzzReport): string {
  const sent = PARTS.map((part) => `${cases[part]} ${part}`).join(", ");
  return [
    ...Object.entries(outcomes).map(([outcome, times]) => `${String(times).padStart(8)}  ${outcome}`),
    "",
    `${sent} cases in ${seconds} s, seed ${seed}; bystanders served in between: ${bystandersServed}`,
    `workerd: ${workerdMiB.afterWarmUp} MiB after the first batch, ${workerdMiB.atTheEnd} MiB at the end`,
    ...findings.map(({ part, what, sent: text }) => `\n${part}: ${what}\n  ${text}`),
    findings.length === 0 ? "No findings." : `${findings.length} findings.`,
  ].join("\n");
}

process.exit(await runCommand(command, "npm run fuzz --", process.argv.slice(2)));
