import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { bondForPool, bondForRestore } from "../bond-for.ts";
import type { BondForPool } from "../bond-rpc.ts";
import { bondIds, countBonds } from "../peering/store.ts";

/**
 * Makes every `Bond` retry its waiting messages now, whatever their backoff. Called after a start of the pool, and when
 * federation is switched on. Without this call the bonds' alarms would do it within a minute.
 */
export async function resumePeers(env: Env): Promise<void> {
  const page = LIMITS.peersPerWake;
  for (let from = 0; (await each(env, from, (bond) => bond.resume())) === page; from += page);
}

/**
 * Called by the cron trigger, because the runtime drops an alarm that failed too often. Each woken bond does what is
 * due and arms its alarm; backoffs stay. One call wakes at most `LIMITS.peersPerWake` bonds; if there are more,
 * successive calls wake them in turn.
 */
export async function wakePeers(env: Env, scheduledMs: number): Promise<void> {
  const turns = Math.ceil((await countBonds(env.DB)) / LIMITS.peersPerWake);
  if (turns === 0) return;
  const turn = Math.floor(scheduledMs / LIMITS.wakeMs) % turns;
  await each(env, turn * LIMITS.peersPerWake, (bond) => bond.wake());
}

/**
 * Call it after this pool was restored from a copy of its state. Grants of peers then count once the peers send them
 * again, which they do when the log has a new id. `by`: the admin's token id. Rejects unless every bond has done it.
 */
export async function forgetReceivedGrants(env: Env, by: string): Promise<void> {
  const page = LIMITS.peersPerWake;
  for (let from = 0; ; from += page) {
    const ids = await bondIds(env.DB, from, page);
    await Promise.all(ids.map((id) => bondForRestore(env, id).forgetReceivedGrants(by)));
    if (ids.length < page) return;
  }
}

/** Returns how many bonds the page had. */
async function each(
  env: Env,
  from: number,
  go: (bond: DurableObjectStub<BondForPool>) => Promise<void>,
): Promise<number> {
  const ids = await bondIds(env.DB, from, LIMITS.peersPerWake);
  await Promise.allSettled(ids.map((id) => go(bondForPool(env, id))));
  return ids.length;
}
