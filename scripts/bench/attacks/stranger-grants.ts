import { setTimeout as sleep } from "node:timers/promises";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { PeerDouble } from "../peer-double.ts";
import type { AttackReport, AttackTarget } from "./attack.ts";
import { type KnownPool, openTo, statusOf, withPeer } from "./hostile-peer.ts";

/** Between tries to register, which the pool allows ten times a minute. */
const PAUSE_MS = 500;

export interface StrangerGrants {
  readonly strangers?: number;
  /** Of each; the default is what one peer may push in an hour. */
  readonly grants?: number;
}

/** One stranger after the other registers and pushes grants. Reports how the pushes were answered. */
export async function attack(
  target: AttackTarget,
  signal: AbortSignal,
  { strangers = Number.POSITIVE_INFINITY, grants = LIMITS.peerGrantsPerHour }: StrangerGrants = {},
): Promise<AttackReport> {
  const pool = await openTo(target);
  const report: Record<string, number> = {};
  for (let made = 0; made < strangers && !signal.aborted; made++) {
    await withPeer(async (stranger) => {
      await register(stranger, pool, signal);
      for (let i = 0; i < grants && !signal.aborted; i++) {
        const event = await stranger.grant(pool, i % 2 === 0 ? 3 : 2);
        const push = { target: "/api/federation/events", body: { events: [{ event, ttl: 0 }] } };
        const outcome = await statusOf(stranger, pool, push, signal);
        report[outcome] = (report[outcome] ?? 0) + 1;
      }
    });
  }
  return report;
}

/** As soon as the rate of registrations allows it. */
async function register(stranger: PeerDouble, pool: KnownPool, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const isRegistered = await stranger.register(pool).then(
      () => true,
      () => false,
    );
    if (isRegistered) return;
    await sleep(PAUSE_MS);
  }
}
