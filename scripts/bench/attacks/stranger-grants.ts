import { setTimeout as sleep } from "node:timers/promises";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { PeerDouble } from "../peer-double.ts";
import type { AttackReport, AttackTarget } from "./attack.ts";
import { type KnownPool, openTo, statusOf, withPeer } from "./hostile-peer.ts";

/** The pause between attempts to register. The pool allows ten registrations a minute. */
const PAUSE_MS = 500;

export interface StrangerGrants {
  readonly strangers?: number;
  /** The number of grants of each stranger. The default is the number that one peer may push in an hour. */
  readonly grants?: number;
}

/** New pools register one after another and push grants. Counts the answers to the pushes. */
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

/** Registers as soon as the pool's rate limit allows it. */
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
