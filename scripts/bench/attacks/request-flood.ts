import { send } from "../peer-double.ts";
import type { AttackReport, AttackTarget } from "./attack.ts";
import { openTo, statusOf, withPeer } from "./hostile-peer.ts";

const REQUEST = "/v1/federation/admin/request";
const CALLBACK = "/v1/federation/admin/callback";
const AT_ONCE = 32;

export interface RequestFlood {
  /** By default, requests are sent until the attack ends. */
  readonly requests?: number;
}

/** A bonded peer sends requests of its admin without a pause: new ones, writes, repeats, and callbacks that nobody awaits. */
export async function attack(
  target: AttackTarget,
  signal: AbortSignal,
  { requests = Number.POSITIVE_INFINITY }: RequestFlood = {},
): Promise<AttackReport> {
  return withPeer(async (peer) => {
    const pool = await openTo(target);
    await target.admin.addPeer({ url: peer.url });
    await target.admin.trustPeer(peer.id, 3);
    const grant = { events: [{ event: await peer.grant(pool, 3), ttl: 0 }] };
    const { status, text } = await send(await peer.signed(pool, "/api/federation/events", grant));
    if (status !== 200) throw new Error(`the grant was answered ${status}: ${text}`);

    const report: Record<string, number> = {};
    let sent = 0;
    const one = async () => {
      while (sent < requests && !signal.aborted) {
        const answered = await statusOf(peer, pool, requestOf(peer.id, sent++), signal);
        report[answered] = (report[answered] ?? 0) + 1;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, one));
    return report;
  });
}

function requestOf(origin_pool_id: string, n: number): { target: string; body: object } {
  const request_id = `flood_${n % 5 === 0 ? 0 : n}`;
  if (n % 4 === 3) {
    const result = { x: "y".repeat(100_000) };
    const body = { request_id, origin_pool_id, final_status: "executed", execution_result: result };
    return { target: CALLBACK, body };
  }
  const action_type = n % 4 === 2 ? "circuit_reset" : "query_events";
  const body = { request_id, origin_pool_id, action_type, action_params: {}, from_admin_email: "\u202e".repeat(300) };
  return { target: REQUEST, body };
}
