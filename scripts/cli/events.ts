import { openEvent } from "../../schema/crypto/signed-event.ts";
import { type Audience, audience as audiences } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { type Command, EXIT, flag, type Group, text, type Values } from "../../worker-agent/cli/shared/command.ts";
import { integer } from "../../worker-agent/cli/shared/number-flags.ts";
import { printable } from "../../worker-agent/cli/shared/table.ts";
import { FlagError } from "../../worker-agent/cli/shared/usage-error.ts";
import { pluralize } from "../../worker-agent/pluralize.ts";
import { jsonLine } from "../../worker-agent/terminal-text.ts";
import { followEvents, type SequencedEvent } from "../runtime/event-stream.ts";
import { access } from "./access.ts";
import { walkLog } from "./log-walk.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print, watched } from "./pool-common.ts";

const tail: Command = {
  summary: "Show the newest events of the pool's log; with --follow also every new one.",
  usage: "[--follow] [--audience NAME] [--limit N] [--json]",
  help: [
    "--follow         keep showing new events until Ctrl-C; after an outage it continues without gaps",
    "--audience NAME  all (default), or only the events for one audience: public, peers",
    `--limit N        how many events to show first (default: 20, at most ${LIMITS.eventsPerPull})`,
    ...COMMON_HELP,
    "                 (with --follow, one JSON value per line)",
  ],
  options: {
    ...COMMON_OPTIONS,
    follow: { type: "boolean", short: "f" },
    audience: { type: "string" },
    limit: { type: "string" },
  },
  positionals: { min: 0, max: 0 },
  async run(values) {
    const of = audienceOf(values);
    const limit = integer("limit", text(values, "limit"), 1, LIMITS.eventsPerPull) ?? 20;
    const { events, head } = await admin(values).events(of, limit);
    const shown = await Promise.all(events.map(verified));
    if (!flag(values, "follow")) {
      const none = "The log has no events for this audience yet.";
      return print(values, { audience: of, head, events: shown }, shown.map(line).join("\n") || none);
    }
    const show = (event: ShownEvent) => console.log(flag(values, "json") ? jsonLine(event) : line(event));
    for (const event of shown) show(event);
    const { url, secret } = access("admin", values);
    const lost = () => console.error("The pool does not answer. Retrying.");
    for await (const event of followEvents(url, secret, { audience: of, since: head, lost }))
      show(await verified(event));
    return EXIT.ok;
  },
};

const verify: Command = {
  summary: "Verify the whole log: bytes, content ids, signatures, sequence numbers, chains and the pool's checkpoints.",
  usage: "[--json]",
  help: [...COMMON_HELP, "", "Exit code 1 if the log is not valid. The first fault is shown."],
  options: COMMON_OPTIONS,
  positionals: { min: 0, max: 0 },
  async run(values) {
    const found = await watched(values, (show) =>
      walkLog(admin(values), (done, of) => show(`Verified ${done} of ${of} events`)),
    );
    if ("walked" in found) {
      const { walked } = found;
      return print(
        values,
        { ok: true, ...walked },
        `The log is valid: ${pluralize(walked.events, "event")} (${walked.public} public, ${walked.peers} for peers, ${walked.of_others} from other pools), ` +
          `${pluralize(walked.checkpoints, "signed checkpoint")}.`,
      );
    }
    const { seq, what } = found;
    if (flag(values, "json")) console.log(jsonLine({ ok: false, seq, what }));
    else console.error(`The log is not valid. Event ${seq}: ${printable(what)}.`);
    return EXIT.failed;
  },
};

/** An event as it is shown: its content comes from the verified bytes. */
type ShownEvent = Awaited<ReturnType<typeof verified>>;

async function verified({ seq, ttl, event }: SequencedEvent) {
  const opened = await openEvent(event);
  const { content_id } = event;
  if (!opened.ok) return { seq, content_id, fault: opened.code };
  const { type, origin, visibility, payload, hlc } = opened.event;
  return { seq, content_id, type, origin, visibility, payload, hlc, ttl };
}

/** One line for a person. Text from peers cannot control the terminal. */
function line(event: ShownEvent): string {
  if ("fault" in event) return `${event.seq}  not valid: ${event.fault}`;
  const at = new Date(event.hlc.physical_us / 1_000);
  const when = Number.isNaN(at.getTime()) ? String(event.hlc.physical_us) : at.toISOString();
  const what = printable(JSON.stringify(event.payload));
  return `${event.seq}  ${when}  ${event.type}  ${event.visibility}  ${event.origin.slice(0, 16)}  ${what}`;
}

function audienceOf(values: Values): Audience {
  const given = text(values, "audience") ?? "all";
  const known = audiences.safeParse(given);
  if (!known.success)
    throw new FlagError("audience", `must be one of ${audiences.options.join(", ")}, not "${given}".`);
  return known.data;
}

/** `ligand events …`: the pool's signed log. */
export const events: Group = {
  summary: "Read the pool's signed event log: tail, verify.",
  commands: { tail, verify },
};
