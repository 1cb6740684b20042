import { resolve } from "node:path";
import { atomId } from "../../schema/wire/events.ts";
import { type Command, EXIT, flag, text, type Values } from "../../worker-agent/cli/shared/command.ts";
import { printable } from "../../worker-agent/cli/shared/table.ts";
import { FlagError, UsageError } from "../../worker-agent/cli/shared/usage-error.ts";
import { pluralize } from "../../worker-agent/pluralize.ts";
import { jsonLine } from "../../worker-agent/terminal-text.ts";
import { linesOf } from "../runtime/file-lines.ts";
import { verifyExport } from "./audit-file.ts";
import { type Fault, type Walked, walkLog } from "./log-walk.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print, watched } from "./pool-common.ts";

/** `ligand audit verify`, and `ligand events verify`. */
export const verify: Command = {
  summary: "Verify the whole log: bytes, content ids, signatures, sequence numbers, chains and the pool's checkpoints.",
  usage: "[FILE] [--atom-id HEX] [--json]",
  help: [
    "FILE           what `audit export` wrote, verified offline (default: the log of the pool)",
    "--atom-id HEX  the pool whose log it must be",
    ...COMMON_HELP,
    "",
    "Exit code 1 if the log is not valid. The first fault is shown.",
  ],
  options: { ...COMMON_OPTIONS, "atom-id": { type: "string" } },
  positionals: { min: 0, max: 1 },
  async run(values, [file]) {
    const expected = expectedOrigin(values, file);
    const found = await watched(values, (show) => {
      const progress = (done: number, of: number) => show(`Verified ${done} of ${of} events`);
      return file === undefined
        ? walkLog(admin(values), progress)
        : verifyExport(linesOf(resolve(file)), progress, expected);
    });
    if (!("walked" in found)) return printFault(values, found);
    const { walked } = found;
    const origin = "origin" in found ? { origin: found.origin } : {};
    const whose = "origin" in found ? ` of pool ${found.origin}` : "";
    return print(values, { ok: true, ...origin, ...walked }, `The log${whose} is valid: ${counts(walked)}.`);
  },
};

function expectedOrigin(values: Values, file: string | undefined): string | undefined {
  const given = text(values, "atom-id");
  if (given === undefined) return undefined;
  if (file === undefined) throw new UsageError("--atom-id goes together with a FILE.");
  if (!atomId.safeParse(given).success) throw new FlagError("atom-id", "must be 64 lowercase hex digits.");
  return given;
}

function printFault(values: Values, fault: Fault & { line?: number }): number {
  const { seq, what, line } = fault;
  const where = line === undefined ? `Event ${seq}` : `Line ${line}, event ${seq}`;
  if (flag(values, "json")) console.log(jsonLine({ ok: false, ...(line !== undefined && { line }), seq, what }));
  else console.error(`The log is not valid. ${where}: ${printable(what)}.`);
  return EXIT.failed;
}

function counts({ events, public: ofPublic, peers, of_others, checkpoints }: Walked): string {
  const parts = `${ofPublic} public, ${peers} for peers, ${of_others} from other pools`;
  return `${pluralize(events, "event")} (${parts}), ${pluralize(checkpoints, "signed checkpoint")}`;
}
