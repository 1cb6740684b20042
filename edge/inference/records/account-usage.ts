import { LIMITS } from "../../../schema/wire/limits.ts";
import type { AccountForLanes } from "../../accounts/account-rpc.ts";
import type { Job } from "../jobs/lane-state.ts";

interface AccountUsageContext {
  accountOf(keyId: string): DurableObjectStub<AccountForLanes>;
  waitUntil(work: Promise<void>): void;
}

/**
 * Reports to the accounts of client keys which tokens ended jobs used, and which stream slots are in use or free again.
 * An ended stream is reported immediately, so that its slot is free before its client can know that the stream has
 * ended. Whole answers hold no slot: their tokens are collected for `LIMITS.usageGroupMs`.
 */
export class AccountUsage {
  readonly #context: AccountUsageContext;
  /** Tokens that were not reported to the account yet, by key. */
  readonly #pendingTokens = new Map<string, number>();
  #timer: ReturnType<typeof setTimeout> | null = null;
  #renewedMs = 0;

  constructor(context: AccountUsageContext) {
    this.#context = context;
  }

  get pendingKeys(): number {
    return this.#pendingTokens.size;
  }

  record(keyId: string, { slot, tokens, isStream }: { slot: string; tokens: number; isStream: boolean }): void {
    const pending = (this.#pendingTokens.get(keyId) ?? 0) + tokens;
    if (isStream) {
      this.#pendingTokens.delete(keyId);
      this.#report(keyId, slot, pending);
      return;
    }
    this.#pendingTokens.set(keyId, pending);
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      const all = [...this.#pendingTokens];
      this.#pendingTokens.clear();
      for (const [key, collected] of all) this.#report(key, null, collected);
    }, LIMITS.usageGroupMs);
  }

  /** Renews the slots of running streams every `LIMITS.streamSlotRenewMs`. */
  renewSlots(jobs: Iterable<Job>, nowMs: number): void {
    // Use the absolute difference, so that a backward clock step cannot delay renewals.
    if (Math.abs(nowMs - this.#renewedMs) < LIMITS.streamSlotRenewMs) return;
    this.#renewedMs = nowMs;
    const slots = new Map<string, string[]>();
    for (const job of jobs) {
      if (!job.request.stream) continue;
      const ofKey = slots.get(job.keyId);
      if (ofKey) ofKey.push(job.id);
      else slots.set(job.keyId, [job.id]);
    }
    for (const [keyId, ids] of slots) this.#call(this.#context.accountOf(keyId).renew(ids));
  }

  #report(keyId: string, slot: string | null, tokens: number): void {
    this.#call(this.#context.accountOf(keyId).recordUsage({ slot, tokens }));
  }

  #call(done: Promise<void>): void {
    this.#context.waitUntil(logFailure(done));
  }
}

/** Logs a failed report. The answer was sent already, and a slot that no call frees expires. */
async function logFailure(done: Promise<void>): Promise<void> {
  try {
    await done;
  } catch (error) {
    console.warn(
      JSON.stringify({ event: "account-call-failed", cause: error instanceof Error ? error.name : "unknown" }),
    );
  }
}
