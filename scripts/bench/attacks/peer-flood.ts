import { setTimeout as sleep } from "node:timers/promises";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { send } from "../peer-double.ts";
import type { AttackReport, AttackTarget } from "./attack.ts";
import { openTo, statusOf, withPeer } from "./hostile-peer.ts";

/** So long that a push, and a page, hold almost 1 MiB. */
const FILLER_CHARS = 7_000;
const AT_ONCE = 16;
const EVENTS = "/api/federation/events";

export interface PeerFlood {
  /** How many requests are sent, half of them pulls; as many as come until the end, when absent. */
  readonly requests?: number;
  /** Just within the request rate of one peer. */
  readonly perSecond?: number;
}

/** A peer at trust 2 pulls pages of 1 MiB and sends the same push of 1 MiB again and again. */
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
    // Written once, so that the attacker costs the machine little beside its victim.
    const body = JSON.stringify({ events: events.map((event) => ({ event, ttl: LIMITS.eventTtl })) });
    const push = { target: EVENTS, body };
    const pull = { target: `${EVENTS}?since=0` };
    // The pool takes these events once, and has a page to answer pulls with.
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
