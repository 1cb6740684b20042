/** How much of the log the events of one origin may fill, whichever peer sends them (docs/spec/events.md#quotas). */
import type { SignedEvent } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

/** How much of the log the events of one origin use, held events included. */
export interface OriginUse {
  readonly atomId: string;
  readonly events: number;
  readonly bytes: number;
}

/** The storage of one event: its stored bytes, and the rest of its row. */
export function rowBytes({ event_bytes }: Pick<SignedEvent, "event_bytes">): number {
  return event_bytes.length + LIMITS.eventRowBytes;
}

/** A quota of 0 bytes is unlimited. `more`: the bytes that are to be added. */
export function isQuotaSpent(usedBytes: number, more: number, quotaBytes: number): boolean {
  return quotaBytes > 0 && usedBytes + more > quotaBytes;
}

/** The quota of the policy, in bytes; 0 is unlimited. */
export function quotaBytesOf({ origin_quota_mib }: { readonly origin_quota_mib: number }): number {
  return origin_quota_mib * 1024 ** 2;
}
