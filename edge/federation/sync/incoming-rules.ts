import type { ErrorCode } from "../../../schema/wire/errors.ts";
import type { HybridTime, PushAnswer } from "../../../schema/wire/events.ts";
import type { ReceiveResult } from "../../events/receive-rules.ts";

/** What this pool decided about one event from a peer. */
export type IncomingResult = ReceiveResult | { ok: false; content_id: string; code: EventRefusal };
export type EventRefusal = Extract<ErrorCode, `events/${string}`>;

/** The answer to a push (docs/spec/events.md#sync): 400 only when no event was accepted and at least one was refused. */
export function answerPush(
  results: readonly IncomingResult[],
  receiver: { hlc: HybridTime; head: number },
): { status: 200 | 400; body: PushAnswer } {
  const taken = results.filter((each) => each.ok);
  const errors = results.flatMap((each) => (each.ok ? [] : [{ content_id: each.content_id, code: each.code }]));
  const accepted = taken.filter(({ outcome }) => outcome !== "duplicate").length;
  const body: PushAnswer = {
    accepted,
    duplicates: taken.length - accepted,
    rejected: errors.length,
    errors,
    receiver_hlc: receiver.hlc,
    receiver_head_seq: receiver.head,
  };
  return { status: accepted === 0 && errors.length > 0 ? 400 : 200, body };
}
