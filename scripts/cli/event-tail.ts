import { isSearched } from "../../schema/wire/event-search.ts";
import { type Audience, audience as audiences } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { type Command, EXIT, flag, text, type Values } from "../../worker-agent/cli/shared/command.ts";
import { integer } from "../../worker-agent/cli/shared/number-flags.ts";
import { FlagError, UsageError } from "../../worker-agent/cli/shared/usage-error.ts";
import { jsonLine } from "../../worker-agent/terminal-text.ts";
import type { AdminClient } from "../runtime/admin-client.ts";
import { followEvents, type SequencedEvent } from "../runtime/event-stream.ts";
import { access } from "./access.ts";
import { type EventFilter, eventFilter, FILTER_HELP, FILTER_OPTIONS } from "./event-filter.ts";
import { formatEvent, type ShownEvent, verified } from "./format-event.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";

/** `ligand audit tail`, and `ligand events tail`. */
export const tail: Command = {
  summary: "Show the newest events of the pool's log, private ones included; with --follow also every new one.",
  usage: "[--follow] [--type TYPE] [--peer ID] [--request ID] [--since WHEN] [--audience NAME] [--limit N] [--json]",
  help: [
    "--follow         keep showing new events until Ctrl-C; after an outage it continues without gaps",
    ...FILTER_HELP,
    "--audience NAME  all (default), or only the events for one audience: public, peers",
    `--limit N        how many events to show first (default: 20, at most ${LIMITS.eventsPerPull})`,
    ...COMMON_HELP,
    "                 (with --follow, one JSON value per line)",
  ],
  options: {
    ...COMMON_OPTIONS,
    ...FILTER_OPTIONS,
    follow: { type: "boolean", short: "f" },
    audience: { type: "string" },
    limit: { type: "string" },
  },
  positionals: { min: 0, max: 0 },
  async run(values, _, hints) {
    const of = audienceOf(values);
    const limit = integer("limit", text(values, "limit"), 1, LIMITS.eventsPerPull) ?? 20;
    const client = admin(values);
    const filter = await eventFilter(client, values, Date.now(), hints);
    if (filter !== null && of !== "all") throw new UsageError("--audience does not go together with other filters.");
    const { events, head } = await newest(client, of, filter, limit);
    const shown = await Promise.all(events.map(verified));
    if (!flag(values, "follow")) {
      const none = filter === null ? "The log has no events for this audience yet." : "The log has no such events.";
      return print(values, { audience: of, head, events: shown }, shown.map(formatEvent).join("\n") || none);
    }
    const show = (event: ShownEvent) => console.log(flag(values, "json") ? jsonLine(event) : formatEvent(event));
    for (const event of shown) show(event);
    const { url, secret } = access("admin", values);
    const lost = () => console.error("The pool does not answer. Retrying.");
    for await (const event of followEvents(url, secret, { audience: of, since: head, lost })) {
      const each = await verified(event);
      // An event that is not valid is shown whatever it says.
      if (filter === null || "fault" in each || isSearched(each, filter)) show(each);
    }
    return EXIT.ok;
  },
};

/** The newest events, the oldest of them first, and the number of the log's last event. */
async function newest(
  client: AdminClient,
  of: Audience,
  filter: EventFilter | null,
  limit: number,
): Promise<{ events: SequencedEvent[]; head: number }> {
  if (filter === null) return client.events(of, limit);
  const { head } = await client.events(of, 1);
  const events: SequencedEvent[] = [];
  for (let before: number | null = head + 1; before !== null && events.length < limit; ) {
    const page = await client.searchEvents({ ...filter, before, limit: limit - events.length });
    events.push(...page.events);
    before = page.next;
  }
  return { events: events.reverse(), head };
}

function audienceOf(values: Values): Audience {
  const given = text(values, "audience") ?? "all";
  const known = audiences.safeParse(given);
  if (!known.success)
    throw new FlagError("audience", `must be one of ${audiences.options.join(", ")}, not "${given}".`);
  return known.data;
}
