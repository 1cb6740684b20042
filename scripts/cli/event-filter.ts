import { requestId } from "../../schema/wire/admin-requests.ts";
import type { EventSearch } from "../../schema/wire/event-search.ts";
import { eventType } from "../../schema/wire/events.ts";
import { text, type Values } from "../../worker-agent/cli/shared/command.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { FlagError } from "../../worker-agent/cli/shared/usage-error.ts";
import type { AdminClient } from "../runtime/admin-client.ts";
import { durationDays } from "./duration-flag.ts";
import { peerIdOf } from "./format-peer.ts";

/** The flags that select events of the log. */

export const FILTER_OPTIONS = {
  type: { type: "string" },
  peer: { type: "string" },
  request: { type: "string" },
  since: { type: "string" },
} as const;

export const FILTER_HELP = [
  "--type TYPE      only events of this type, such as request_received",
  "--peer ID        only events that concern this peer, and its own events",
  "--request ID     only events that concern this request between admins",
  "--since WHEN     only events since then: a duration such as 2h or 30d, or a date such as 2026-01-31 or 2026-01-31T12:00:00Z",
] as const;

export type EventFilter = Pick<EventSearch, "type" | "peer" | "request" | "since_us">;

/** Null: no flag selects events. */
export async function eventFilter(
  client: AdminClient,
  values: Values,
  nowMs: number,
  hints: Hints,
): Promise<EventFilter | null> {
  const [type, peer, request] = [text(values, "type"), text(values, "peer"), text(values, "request")];
  if (type !== undefined && !eventType.safeParse(type).success) {
    throw new FlagError("type", `must be the name of an event type, such as request_received, not "${type}".`);
  }
  if (request !== undefined && !requestId.safeParse(request).success) {
    throw new FlagError("request", "has 1 to 64 letters, digits and . _ - and begins with a letter or digit.");
  }
  const filter = {
    ...(type !== undefined && { type }),
    ...(peer !== undefined && { peer: await peerOf(client, peer, hints) }),
    ...(request !== undefined && { request }),
    ...sinceOf(text(values, "since"), nowMs),
  };
  return Object.keys(filter).length === 0 ? null : filter;
}

/** A complete id may also be of a pool that is a peer no longer. */
async function peerOf(client: AdminClient, given: string, hints: Hints): Promise<string> {
  return /^[0-9a-f]{64}$/.test(given) ? given : peerIdOf(given, await client.peers(), hints);
}

/** A date without a time begins at midnight UTC. */
function sinceOf(given: string | undefined, nowMs: number): { since_us?: number } {
  if (given === undefined) return {};
  const days = durationDays(given);
  const isDate = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/.test(given);
  const sinceMs = days === undefined ? (isDate ? Date.parse(given) : Number.NaN) : nowMs - days * 86_400_000;
  if (Number.isNaN(sinceMs)) {
    throw new FlagError(
      "since",
      `must be a duration such as 2h, or a date such as 2026-01-31 or 2026-01-31T12:00:00Z, not "${given}".`,
    );
  }
  return { since_us: Math.max(0, Math.floor(sinceMs)) * 1_000 };
}
