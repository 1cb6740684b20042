import { createHash } from "node:crypto";
import { expect } from "vitest";
import {
  advance,
  type EventBatch,
  type Followed,
  type FollowStep,
  receivePage,
  receiveStreamed,
  type Source,
} from "../../../edge/federation/sync/followed-log-rules.ts";
import type { EventRefusal, IncomingResult } from "../../../edge/federation/sync/incoming-rules.ts";
import { GENESIS_CHAIN, nextChain } from "../../../schema/crypto/signed-event.ts";
import type { PullAnswer, PulledEvent, SignedCheckpoint } from "../../../schema/wire/events.ts";

export const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());
export const hexOf = (text: string) => createHash("sha256").update(text).digest("hex");
export const [alice, bob, us] = ["a1".repeat(32), "b0".repeat(32), "0f".repeat(32)];
export const alicesLog: Source = { atomId: alice, publicKey: "a2".repeat(32), audience: "public" };

export const LOG = "01".repeat(16);

/** Alice's log is a list of texts, one for each event. A text that begins with "bob" is an event of Bob's that she relays. */
export function entry(text: string, seq: number, bytes = "AAAA"): PulledEvent {
  const origin_pubkey = text.startsWith("bob") ? "b1".repeat(32) : alicesLog.publicKey;
  return {
    seq,
    event: { event_bytes: bytes, origin_pubkey, signature: "00".repeat(64), content_id: hexOf(text) },
    ttl: 3,
  };
}
export const chainOf = (texts: readonly string[]) =>
  texts.reduce((chain, text) => nextChain(chain, hexOf(text), sha256), GENESIS_CHAIN);

export function checkpointOf(
  texts: readonly string[],
  log_id = LOG,
  changes: Partial<SignedCheckpoint["checkpoint"]> = {},
) {
  const checkpoint = {
    v: 1 as const,
    type: "checkpoint" as const,
    origin: alice,
    log_id,
    audience: "public" as const,
    seq: texts.length,
    chain: chainOf(texts),
    hlc: { physical_us: texts.length, logical: 0, node_id: "a2".repeat(8) },
    ...changes,
  };
  return { checkpoint, origin_pubkey: alicesLog.publicKey, signature: "00".repeat(64) } satisfies SignedCheckpoint;
}

export function page(texts: readonly string[], since: number, limit = 500, logId = LOG): PullAnswer {
  const events = texts.map((text, i) => entry(text, i + 1)).slice(since, since + limit);
  return { events, next: since + events.length, head: texts.length, checkpoint: checkpointOf(texts, logId) };
}

export const accepted = (count: number): IncomingResult[] =>
  Array.from({ length: count }, () => ({ ok: true, content_id: "", outcome: "accepted" }));
export const refused = (code: EventRefusal): IncomingResult => ({ ok: false, content_id: "", code });

/** Handles a page. Our log accepts all of its events. */
export function follow(given: Followed, answer: PullAnswer, results = accepted(answer.events.length)): Followed {
  const step = receivePage(given, alicesLog, answer, sha256);
  return step.ok ? advance(step.followed, step.batch, results).followed : step.followed;
}
export function batchOf(given: Followed, streamed: PulledEvent[]): EventBatch {
  const step = receiveStreamed(given, alicesLog, streamed, sha256);
  return step.ok ? step.batch : expect.fail(step.code);
}
export const codeOf = (step: FollowStep) => (step.ok ? "ok" : step.code);
