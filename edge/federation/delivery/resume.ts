import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { type BondForPool, bondForPool } from "../bond-rpc.ts";
import { bondIds, countBonds } from "../peering/store.ts";

/**
 * Every peer's `Bond` goes on at once where it was, whatever backoff it was in: after a start, which no peer may have
 * noticed, and when a switch allows what it did not. Without this its alarm would see to it, within a minute.
 */
export async function resumePeers(env: Env): Promise<void> {
  const page = LIMITS.peersPerWake;
  for (let from = 0; (await each(env, from, (bond) => bond.resume())) === page; from += page);
}

/**
 * By cron trigger: bonds do what is due, and arm their alarms, for an alarm that failed too often is not tried again.
 * Nothing that waits is hurried. A call costs at most a hundred bonds; with more peers they take turns.
 */
export async function wakePeers(env: Env, scheduledMs: number): Promise<void> {
  const turns = Math.ceil((await countBonds(env.DB)) / LIMITS.peersPerWake);
  if (turns === 0) return;
  const turn = Math.floor(scheduledMs / LIMITS.wakeMs) % turns;
  await each(env, turn * LIMITS.peersPerWake, (bond) => bond.wake());
}

/**
 * This pool was restored from a copy of its state: what peers granted counts as they say it again, which those that
 * follow it do once its log has a new name. `by`: the admin's token. Rejects unless it holds of all.
 */
export async function forgetReceivedGrants(env: Env, by: string): Promise<void> {
  const page = LIMITS.peersPerWake;
  for (let from = 0; ; from += page) {
    const ids = await bondIds(env.DB, from, page);
    await Promise.all(ids.map((id) => bondForPool(env, id).forgetReceivedGrants(by)));
    if (ids.length < page) return;
  }
}

/** How many there were. */
async function each(
  env: Env,
  from: number,
  go: (bond: DurableObjectStub<BondForPool>) => Promise<void>,
): Promise<number> {
  const ids = await bondIds(env.DB, from, LIMITS.peersPerWake);
  await Promise.allSettled(ids.map((id) => go(bondForPool(env, id))));
  return ids.length;
}
