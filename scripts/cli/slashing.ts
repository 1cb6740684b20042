import { LIMITS } from "../../schema/wire/limits.ts";
import type { SlashingVerb, SlashingView } from "../../schema/wire/market.ts";
import { type Command, flag, type Group, text } from "../../worker-agent/cli/shared/command.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { printable, table } from "../../worker-agent/cli/shared/table.ts";
import { FlagError, UsageError } from "../../worker-agent/cli/shared/usage-error.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";
import { completeId, notRecorded } from "./short-id.ts";

const REASON_HELP = "--reason TEXT    why. It is kept for ever: write nothing that someone may want erased";
const CREDIT_MICRO = 1_000_000;

const add: Command = {
  summary: "Enter a slashing event. While it is open, it blocks requests of peers that heed it.",
  usage: "--reason TEXT [--worker ID] [--amount CREDITS] [--json]",
  help: [
    REASON_HELP,
    "--worker ID      the worker that it is about (64 hex digits)",
    "--amount CREDITS the disputed amount",
    ...COMMON_HELP,
  ],
  options: {
    ...COMMON_OPTIONS,
    reason: { type: "string" },
    worker: { type: "string" },
    amount: { type: "string" },
  },
  positionals: { min: 0, max: 0 },
  async run(values, _, hints) {
    const entered = await admin(values).addSlashing({
      reason: reasonOf(text(values, "reason")),
      worker: text(values, "worker"),
      amount_micro: amountOf(text(values, "amount")),
    });
    const close = hints.ligand(`slashing settle ${entered.slashing_id} --reason TEXT`);
    return print(values, entered, `${line(entered)}\nTo close it: ${close}${notRecorded(entered)}`);
  },
};

const list: Command = {
  summary: "List slashing events, the newest first.",
  usage: "[--open] [--json]",
  help: [`--open           only pending and contested ones (at most ${LIMITS.slashingOpen})`, ...COMMON_HELP],
  options: { ...COMMON_OPTIONS, open: { type: "boolean" } },
  positionals: { min: 0, max: 0 },
  async run(values, _, hints) {
    const slashing = await admin(values).slashing(flag(values, "open"));
    return print(values, { slashing }, slashingTable(slashing, hints));
  },
};

function change(verb: SlashingVerb, summary: string): Command {
  return {
    summary,
    usage: "ID --reason TEXT [--json]",
    help: ["ID               the id, or its first 6 or more characters", REASON_HELP, ...COMMON_HELP],
    options: { ...COMMON_OPTIONS, reason: { type: "string" } },
    positionals: { min: 1, max: 1 },
    async run(values, [given = ""]) {
      const client = admin(values);
      const reason = reasonOf(text(values, "reason"));
      const known = (await client.slashing(false)).map(({ slashing_id: id }) => ({ id }));
      const changed = await client.changeSlashing(completeId(given, "slashing event", known), verb, reason);
      return print(values, changed, `${line(changed)}${notRecorded(changed)}`);
    },
  };
}

function reasonOf(given: string | undefined): string {
  if (given === undefined || given === "") throw new UsageError("--reason TEXT is missing.");
  return given;
}

/** Credits have six decimals. */
function amountOf(given: string | undefined): number | undefined {
  if (given === undefined) return undefined;
  const micro = /^\d{1,9}(\.\d{1,6})?$/.test(given) ? Math.round(Number(given) * CREDIT_MICRO) : 0;
  if (micro <= 0) throw new FlagError("amount", "must be a positive number of credits with at most six decimals.");
  return micro;
}

function line({ slashing_id, status, version }: SlashingView): string {
  return `Slashing event ${slashing_id} is ${status} (version ${version}).`;
}

function slashingTable(slashing: readonly SlashingView[], hints: Hints): string {
  const rows = slashing.map((each) => [
    each.slashing_id,
    each.status,
    each.worker?.slice(0, 16) ?? "",
    each.amount_micro === null ? "" : String(each.amount_micro / CREDIT_MICRO),
    new Date(each.entered_at_ms).toISOString(),
    printable(each.entered_by),
    printable(each.reason),
  ]);
  const none = `There are no slashing events. To enter one: ${hints.ligand("slashing add --reason TEXT")}`;
  return table(["ID", "STATUS", "WORKER", "CREDITS", "ENTERED", "BY", "REASON"], rows, none);
}

/** `ligand slashing …`: slashing events, which the operator enters. */
export const slashing: Group = {
  summary: "Slashing events: add, list, contest, settle, dismiss.",
  commands: {
    add,
    list,
    contest: change("contest", "Mark an open slashing event as contested. It stays open."),
    settle: change("settle", "Close a slashing event: the amount is due."),
    dismiss: change("dismiss", "Close a slashing event: nothing is due."),
  },
  standard: "list",
};
