import { openEvent } from "../../schema/crypto/signed-event.ts";
import { EVENTS, type EventPayload, type EventType } from "../../schema/wire/event-registry.ts";
import { printable } from "../../worker-agent/cli/shared/table.ts";
import { pluralize } from "../../worker-agent/pluralize.ts";
import type { SequencedEvent } from "../runtime/event-stream.ts";

/** How the command line shows events. Text from peers cannot control the terminal. */

/** An event as it is shown: its content comes from the verified bytes. */
export type ShownEvent = Awaited<ReturnType<typeof verified>>;

export async function verified({ seq, ttl, event }: SequencedEvent) {
  const opened = await openEvent(event);
  const { content_id } = event;
  if (!opened.ok) return { seq, content_id, fault: opened.code };
  const { type, origin, visibility, payload, hlc } = opened.event;
  return { seq, content_id, type, origin, visibility, payload, hlc, ttl };
}

/** One line for a person. */
export function formatEvent(event: ShownEvent): string {
  if ("fault" in event) return `${event.seq}  not valid: ${event.fault}`;
  const at = new Date(event.hlc.physical_us / 1_000);
  const when = Number.isNaN(at.getTime()) ? String(event.hlc.physical_us) : at.toISOString();
  const what = printable(sentence(event.type, event.payload) ?? JSON.stringify(event.payload));
  return `${event.seq}  ${when}  ${event.type}  ${event.visibility}  ${event.origin.slice(0, 16)}  ${what}`;
}

type Sentences = { readonly [Type in EventType]?: (payload: EventPayload<Type>) => string };

const short = (id: string) => id.slice(0, 16);
const signedBy = (keyId: string | null) => (keyId === null ? "" : `, signed by admin key ${short(keyId)}`);
const owner = (peer: string | null) => (peer === null ? "of this pool" : `of ${short(peer)}`);

/** The audit of requests between admins, in words. Other events are shown by their payload. */
const SENTENCES: Sentences = {
  request_received: ({ peer, request_id, action, params, key_id, status }) =>
    `${short(peer)} asks for ${action} ${JSON.stringify(params)} as ${request_id}${signedBy(key_id)}: ${status}`,
  requests_refused: ({ peer, code, count }) => `${pluralize(count, "request")} of ${short(peer)} refused: ${code}`,
  request_decided: ({ peer, request_id, decision, by, overridden }) => {
    const who = by === null ? "" : ` by ${by}`;
    const override = overridden?.map(({ slashing_id, status }) => `${slashing_id} (${status})`).join(", ");
    const despite = override === undefined ? "" : `, although these slashing events are open: ${override}`;
    return `${request_id} of ${short(peer)}: ${decision}${who}${despite}`;
  },
  request_executed: ({ peer, request_id, outcome }) =>
    `${request_id} of ${short(peer)}: the action ${outcome === "failed" ? "failed" : "ran"}`,
  request_called_back: ({ peer, request_id, outcome }) =>
    `${request_id} of ${short(peer)}: ${outcome === "delivered" ? "the peer has the answer" : "the peer did not take the answer"}`,
  request_sent: ({ peer, request_id, action, params, by, key_id }) =>
    `${by} asks ${short(peer)} for ${action} ${JSON.stringify(params)} as ${request_id}${signedBy(key_id)}`,
  request_answered: ({ peer, request_id, status, code }) =>
    `${request_id} to ${short(peer)}: ${status}${code === null ? "" : ` (${code})`}`,
  texts_erased: ({ of, by }) =>
    `${by} erased the texts of ${"worker" in of ? `worker ${short(of.worker)}` : `request ${of.request_id} of ${short(of.peer)}`}`,
  admin_key_added: ({ key_id, peer, by }) => `${by} registered admin key ${short(key_id)} ${owner(peer)}`,
  admin_key_removed: ({ key_id, peer, by }) => `${by} removed admin key ${short(key_id)} ${owner(peer)}`,
};

/** Undefined where the payload is another than this version knows. */
function sentence(type: string, payload: unknown): string | undefined {
  if (!Object.hasOwn(SENTENCES, type)) return undefined;
  const known = EVENTS[type as EventType].payload.safeParse(payload);
  // The schema of the type has checked the payload, which the compiler cannot connect.
  const say = SENTENCES[type as EventType] as ((payload: unknown) => string) | undefined;
  return known.success ? say?.(known.data) : undefined;
}
