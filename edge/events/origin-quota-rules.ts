/** How much of the log the events of one origin may fill, whoever brings them. Pure. */
import type { SignedEvent } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

/** What one origin has in the log, or held for it. */
export interface OriginUse {
  readonly atomId: string;
  readonly events: number;
  readonly bytes: number;
}

/** What an event takes: its bytes as they are stored, and the rest of its row. */
export function rowBytes({ event_bytes }: Pick<SignedEvent, "event_bytes">): number {
  return event_bytes.length + LIMITS.eventRowBytes;
}

/** A quota of 0 bytes is none. `more`: what would come in addition. */
export function isQuotaSpent(usedBytes: number, more: number, quotaBytes: number): boolean {
  return quotaBytes > 0 && usedBytes + more > quotaBytes;
}

export function quotaBytesOf({ origin_quota_mib }: { readonly origin_quota_mib: number }): number {
  return origin_quota_mib * 1024 ** 2;
}
