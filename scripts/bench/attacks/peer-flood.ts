import { setTimeout as sleep } from "node:timers/promises";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { send } from "../peer-double.ts";
import type { AttackReport, AttackTarget } from "./attack.ts";
import { openTo, statusOf, withPeer } from "./hostile-peer.ts";

/** With events of this length, a push and a page have almost 1 MiB. */
const FILLER_CHARS = 7_000;
const AT_ONCE = 16;
const EVENTS = "/api/federation/events";

export interface PeerFlood {
  /** The number of requests, half of them pulls. By default, requests are sent until the attack ends. */
  readonly requests?: number;
  /** By default slightly below the allowed request rate of one peer. */
  readonly perSecond?: number;
}

/** A peer at trust 2 repeats a pull of 1 MiB and a push of 1 MiB. */
export async function attack(
  target: AttackTarget,
  signal: AbortSignal,
  { requests = Number.POSITIVE_INFINITY, perSecond = LIMITS.peerEventRequestsPerSecond - 2 }: PeerFlood = {},
): Promise<AttackReport> {
  return withPeer(async (peer) => {
    const pool = await openTo(target);
    await target.admin.addPeer({ url: peer.url });
    await target.admin.trustPeer(peer.id, 2);
    const filler = "x".repeat(FILLER_CHARS);
    const events = await Promise.all(Array.from({ length: LIMITS.eventsPerPush }, () => peer.event({ filler })));
    // The body is built once, so that the attacker itself uses little CPU.
    const body = JSON.stringify({ events: events.map((event) => ({ event, ttl: LIMITS.eventTtl })) });
    const push = { target: EVENTS, body };
    const pull = { target: `${EVENTS}?since=0` };
    // After this push the pool has the events, and can answer pulls with a full page.
    const { status, text } = await send(await peer.signed(pool, push.target, push.body));
    if (status !== 200) throw new Error(`the first push was answered ${status}: ${text}`);

    const report: Record<string, number> = {};
    const open = new Set<Promise<void>>();
    const startedMs = performance.now();
    for (let i = 0; i < requests && !signal.aborted; i++) {
      await sleep(Math.max(0, startedMs + (i * 1_000) / perSecond - performance.now()));
      if (open.size >= AT_ONCE) await Promise.race(open);
      const [kind, request] = i % 2 === 0 ? (["push", push] as const) : (["pull", pull] as const);
      const sent = statusOf(peer, pool, request, signal).then((answered) => {
        const outcome = `${kind} ${answered}`;
        report[outcome] = (report[outcome] ?? 0) + 1;
        open.delete(sent);
      });
      open.add(sent);
    }
    await Promise.all(open);
    return report;
  });
}
