import { fileURLToPath } from "node:url";
import { toBase64 } from "../../schema/crypto/bytes.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { followEvents } from "../runtime/event-stream.ts";
import { startFederated, withAll } from "./federated-rig.ts";
import { Connections, median, percentile, sendEach, type Target } from "./load.ts";
import { PeerDouble } from "./peer-double.ts";
import { startFedify } from "./peers.ts";
import { startRig } from "./rig.ts";
import { type Bench, type Row, round } from "./row.ts";

/** Measurements between pools. Each one starts new pools on loopback, with their state on disk. */

const ROUNDS = 3;
const CONNECTIONS = 16;
/** The pool's Worker with additional routes for measurements. */
const ENTRY = fileURLToPath(new URL("worker/entry.ts", import.meta.url));

/** Signed requests verified and durably recorded per second, by this pool and by an inbox on Fedify, in turns. */
const signedRequests: Bench = {
  name: "signed-requests",
  run: (progress) =>
    withAll(async (started) => {
      const PEERS = 64;
      const REQUESTS = 1_000;
      const fedify = await startFedify();
      started.end(() => fedify.stop());
      const rig = await startFederated();
      started.end(() => rig.stop());
      const peers = await Promise.all(Array.from({ length: PEERS }, () => PeerDouble.start()));
      started.end(() => peers.map((peer) => peer.stop()));
      for (const { url } of peers) await rig.admin.addPeer({ url });

      const ours = (count: number): Promise<Target[]> => {
        const signed = Array.from({ length: REQUESTS }, (_, i) => {
          const peer = peers[i % count] as PeerDouble;
          const challenge_b64 = toBase64(crypto.getRandomValues(new Uint8Array(32)));
          return peer.signed(rig, "/v1/federation/verify", { atom_id: peer.id, challenge_b64 });
        });
        return Promise.all(signed);
      };
      const rows: Row[] = [];
      for (const count of [1, PEERS]) {
        const pairs: [number, number][] = [];
        for (let i = 0; i <= ROUNDS; i++) {
          const here = await sendEach(await ours(count), CONNECTIONS);
          const there = await sendEach(await fedify.activities(count, REQUESTS), CONNECTIONS);
          // The first round is warm-up.
          if (i > 0) pairs.push([here, there]);
          progress(`from ${count}: ${here.toFixed(0)} here, ${there.toFixed(0)} there`);
        }
        const ratio = median(pairs.map(([here, there]) => here / there));
        rows.push({
          what: `signed requests recorded a second over an inbox on @fedify/fedify, from ${count} peer${count > 1 ? "s" : ""}`,
          value: round(ratio),
          unit: "×",
          target: "≥ 1.5",
          met: ratio >= 1.5,
          detail: `${median(pairs.map(([here]) => here)).toFixed(0)} / ${median(pairs.map(([, there]) => there)).toFixed(0)} requests/s, ${CONNECTIONS} connections`,
        });
      }
      return rows;
    }),
};

/** Events signed, chained and committed per second, while D1 is written as usual. */
const append: Bench = {
  name: "append",
  run: (progress) =>
    withAll(async (started) => {
      const WRITERS = 64;
      const EACH = 60;
      const rig = await startRig({ main: ENTRY });
      started.end(() => rig.stop());
      const connections = new Connections(1);
      started.end(() => connections.close());
      const post = async (path: string, body: object) => {
        await connections.post({ url: `${rig.url}/bench/${path}`, headers: {}, body: JSON.stringify(body) });
      };
      const rates: number[] = [];
      for (let i = 0; i <= ROUNDS; i++) {
        const startedMs = performance.now();
        await post("append", { writers: WRITERS, each: EACH });
        const rate = (WRITERS * EACH * 1_000) / (performance.now() - startedMs);
        await post("flush", {});
        const recorded = (WRITERS * EACH * 1_000) / (performance.now() - startedMs);
        if (i > 0) rates.push(rate);
        progress(`${rate.toFixed(0)} events/s, ${recorded.toFixed(0)} with the writes to D1`);
      }
      const rate = median(rates);
      return [
        {
          what: `events appended a second, ${WRITERS} writers`,
          value: round(rate),
          unit: "events/s",
          target: "≥ 2,000",
          met: rate >= 2_000,
          detail: `${ROUNDS} rounds of ${WRITERS} × ${EACH} public events`,
        },
      ];
    }),
};

/** Events pushed by a peer, verified, ordered and committed per second. */
const push: Bench = {
  name: "push",
  run: (progress) =>
    withAll(async (started) => {
      const PUSHES = 40;
      const rig = await startFederated();
      started.end(() => rig.stop());
      const peer = await PeerDouble.start();
      started.end(() => peer.stop());
      await rig.admin.addPeer({ url: peer.url });
      await rig.admin.trustPeer(peer.id, 2);
      const targets = () =>
        Promise.all(
          Array.from({ length: PUSHES }, async () => {
            const events = await Promise.all(Array.from({ length: LIMITS.eventsPerPush }, () => peer.event()));
            const body = { events: events.map((event) => ({ event, ttl: LIMITS.eventTtl })) };
            return peer.signed(rig, "/api/federation/events", body);
          }),
        );
      const rates: number[] = [];
      for (let i = 0; i <= ROUNDS; i++) {
        const before = (await rig.admin.federation()).events.public;
        const rate = (await sendEach(await targets(), 4)) * LIMITS.eventsPerPush;
        const accepted = (await rig.admin.federation()).events.public - before;
        if (accepted !== PUSHES * LIMITS.eventsPerPush) throw new Error(`${accepted} events were accepted`);
        if (i > 0) rates.push(rate);
        progress(`${rate.toFixed(0)} events/s`);
      }
      const rate = median(rates);
      return [
        {
          what: `events accepted by push a second, ${LIMITS.eventsPerPush} at a time`,
          value: round(rate),
          unit: "events/s",
          target: "≥ 3,000",
          met: rate >= 3_000,
          detail: `${ROUNDS} rounds of ${PUSHES} pushes, 4 connections`,
        },
      ];
    }),
};

/** The time from the appending request at one pool until a reader of the other pool's log sees the event. */
const stream: Bench = {
  name: "stream",
  run: () =>
    withAll(async (started) => {
      const here = await startFederated({ main: ENTRY });
      started.end(() => here.stop());
      const there = await startFederated();
      started.end(() => there.stop());
      await here.admin.addPeer({ url: there.url });
      await here.admin.trustPeer(there.atomId, 3);
      await there.admin.trustPeer(here.atomId, 3);
      const lost = () => {
        throw new Error("a reader was lost");
      };
      const events = followEvents(there.url, there.adminToken, { audience: "public", since: 0, lost });
      started.end(() => events.return(undefined));
      const connections = new Connections(1);
      started.end(() => connections.close());
      const target = {
        url: `${here.url}/bench/append`,
        headers: {},
        body: JSON.stringify({ writers: 1, each: 1 }),
      };
      const times: number[] = [];
      for (let i = 0; i < 350; i++) {
        const sentMs = performance.now();
        const arrived = events.next().then(() => performance.now());
        await connections.post(target);
        const tookMs = (await arrived) - sentMs;
        // The first rounds wait for the follower's stream and warm up both pools.
        if (i >= 50) times.push(tookMs);
      }
      const row = (p: number, targetMs: number): Row => ({
        what: `from append to visible at a bonded peer by stream, p${p}`,
        value: round(percentile(times, p)),
        unit: "ms",
        target: `≤ ${targetMs}`,
        met: percentile(times, p) <= targetMs,
        detail: `n = ${times.length}, one event at a time`,
      });
      return [row(50, 20), row(99, 100)];
    }),
};

/** The same request with and without the policy check, in turns. */
const policyCheck: Bench = {
  name: "policy-check",
  run: () =>
    withAll(async (started) => {
      const rig = await startFederated({ main: ENTRY });
      started.end(() => rig.stop());
      const connections = new Connections(1);
      started.end(() => connections.close());
      const times = { checked: [] as number[], unchecked: [] as number[] };
      for (let i = 0; i < 1_500; i++) {
        for (const route of ["checked", "unchecked"] as const) {
          const startedMs = performance.now();
          await connections.post({ url: `${rig.url}/bench/${route}`, headers: {}, body: "" });
          if (i >= 500) times[route].push(performance.now() - startedMs);
        }
      }
      const [checked, unchecked] = [median(times.checked), median(times.unchecked)];
      const added = checked - unchecked;
      return [
        {
          what: "added to a request by the policy check, p50",
          value: round(added),
          unit: "ms",
          target: "≤ 0.3",
          met: added <= 0.3,
          detail: `${checked.toFixed(3)} ms with it, ${unchecked.toFixed(3)} ms without, n = ${times.checked.length}`,
        },
      ];
    }),
};

export const FEDERATION_BENCHES: readonly Bench[] = [signedRequests, append, push, stream, policyCheck];
