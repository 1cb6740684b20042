import { LIMITS } from "../../schema/wire/limits.ts";
import { startFederated, withAll } from "./federated-rig.ts";
import { median, sendEach, type Target } from "./load.ts";
import { PeerDouble } from "./peer-double.ts";
import type { Rig } from "./rig.ts";
import { type Bench, round } from "./row.ts";

/** Measurements of requests between admins. */

const PEERS = 64;
const ROUNDS = 3;

/** A pool and peers that are bonded with it in both directions. */
async function bonded(rig: Rig, count: number): Promise<PeerDouble[]> {
  const peers = await Promise.all(Array.from({ length: count }, () => PeerDouble.start()));
  for (const peer of peers) {
    await rig.admin.addPeer({ url: peer.url });
    await rig.admin.trustPeer(peer.id, 3);
    const events = [{ event: await peer.grant(rig, 3), ttl: 0 }];
    await sendEach([await peer.signed(rig, "/api/federation/events", { events })], 1);
  }
  return peers;
}

let numbers = 0;
function request(rig: Rig, peer: PeerDouble): Promise<Target> {
  return peer.signed(rig, "/v1/federation/admin/request", {
    request_id: `bench_${numbers++}`,
    origin_pool_id: peer.id,
    action_type: "query_events",
    action_params: { limit: 1 },
    from_admin_email: "ops@peer.example",
  });
}

/** Requests accepted and committed a second, while events and rows are written as usual. */
const adminRequests: Bench = {
  name: "admin-requests",
  run: (progress) =>
    withAll(async (started) => {
      const REQUESTS = 960;
      const rig = await startFederated();
      started.end(() => rig.stop());
      await rig.admin.changeFederation({ peer_pending_requests: LIMITS.adminMaxRequestsPending });
      const peers = await bonded(rig, PEERS);
      started.end(() => peers.map((peer) => peer.stop()));
      const rates: number[] = [];
      for (let i = 0; i <= ROUNDS; i++) {
        const targets = Array.from({ length: REQUESTS }, (_, n) => request(rig, peers[n % PEERS] as PeerDouble));
        const rate = await sendEach(await Promise.all(targets), 16);
        // The first round is warm-up.
        if (i > 0) rates.push(rate);
        progress(`${rate.toFixed(0)} requests/s`);
      }
      const rate = median(rates);
      return [
        {
          what: `requests of admins accepted and recorded a second, ${PEERS} peers`,
          value: round(rate),
          unit: "requests/s",
          target: "≥ 300",
          met: rate >= 300,
          detail: `${ROUNDS} rounds of ${REQUESTS}, 16 connections`,
        },
      ];
    }),
};

/** From the admin's approval until the peer has the callback. */
const callback: Bench = {
  name: "callback",
  run: () =>
    withAll(async (started) => {
      const rig = await startFederated();
      started.end(() => rig.stop());
      const peers = await bonded(rig, 1);
      const [peer] = peers as [PeerDouble];
      started.end(() => peer.stop());
      const times: number[] = [];
      for (let i = 0; i < 120; i++) {
        await sendEach([await request(rig, peer)], 1);
        const request_id = `bench_${numbers - 1}`;
        const called = peer.nextCallback().then(() => performance.now());
        const startedMs = performance.now();
        await rig.admin.approveRequest({ direction: "received", peer: peer.id, request_id });
        const tookMs = (await called) - startedMs;
        if (i >= 20) times.push(tookMs);
      }
      const p50 = median(times);
      return [
        {
          what: "from approval to the callback at a peer, p50",
          value: round(p50),
          unit: "ms",
          target: "≤ 60",
          met: p50 <= 60,
          detail: `n = ${times.length}, one request at a time`,
        },
      ];
    }),
};

export const INBOX_BENCHES: readonly Bench[] = [adminRequests, callback];
