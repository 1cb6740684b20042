import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pushAnswer } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { openTo, statusOf, withPeer } from "../../scripts/bench/attacks/hostile-peer.ts";
import { attack as floodAsPeer } from "../../scripts/bench/attacks/peer-flood.ts";
import { attack as pushGrants } from "../../scripts/bench/attacks/stranger-grants.ts";
import { send } from "../../scripts/bench/peer-double.ts";
import { type HardPool, startHardPool } from "./hardening-support.ts";

/** Attacks by peers and strangers on a real pool. The test counts what they leave behind, and measures no time. */

let pool: HardPool;
const never = new AbortController().signal;

beforeAll(async () => {
  pool = await startHardPool();
});
afterAll(() => pool.stop());

const events = async () => (await pool.admin.federation()).events.all;

describe("strangers", () => {
  it("that register and push grants leave one row each, and no event in the log", async () => {
    const strangers = 5;
    await openTo(pool);
    const before = await events();
    const answers = await pushGrants(pool, never, { strangers, grants: 12 });
    const accepted = answers["200"] ?? 0;
    expect(accepted).toBeGreaterThanOrEqual(strangers);
    expect(accepted).toBeLessThan(strangers * LIMITS.peerGrantsPerHour);
    expect(accepted + (answers["429"] ?? 0)).toBe(strangers * 12);
    expect(await events()).toBe(before);
    const peers = await pool.admin.peers();
    expect(peers).toHaveLength(strangers);
    expect(new Set(peers.map(({ granted }) => granted))).toEqual(new Set([1]));
    expect(peers.filter(({ received }) => received >= 2)).toHaveLength(strangers);
  });
});

describe("a peer at trust 2", () => {
  it("that pulls 1 MiB pages and repeats its pushes gets its rate, and refusals beyond it", async () => {
    const [requests, before] = [400, await events()];
    const startedMs = performance.now();
    const answers = await floodAsPeer(pool, never, { requests });
    const seconds = (performance.now() - startedMs) / 1_000;
    const sum = (status: string) => (answers[`push ${status}`] ?? 0) + (answers[`pull ${status}`] ?? 0);
    expect(sum("200") + sum("429")).toBe(requests);
    expect(sum("200")).toBeGreaterThan(0);
    // At the prices of `LIMITS`, the cheaper of the two costs this much.
    const workMs = LIMITS.peerWorkBurstMs + seconds * LIMITS.peerWorkMsPerSecond;
    expect(sum("200")).toBeLessThanOrEqual(workMs / (LIMITS.workRequestUs / 1_000 + 6) + LIMITS.peerTurnsWaiting);
    // Its first push is in the log once, beside the events of our admin's decisions.
    expect((await events()) - before).toBeLessThan(LIMITS.eventsPerPush + 10);
    await expect(pool.admin.pool()).resolves.toBeDefined();
  });

  it("that sends new events without end fills its quota of the log and no more", async () => {
    await withPeer(async (peer) => {
      const known = await openTo(pool);
      await pool.admin.changeFederation({ origin_quota_mib: 1 });
      await pool.admin.addPeer({ url: peer.url });
      await pool.admin.trustPeer(peer.id, 2);
      const filler = "x".repeat(7_000);
      const codes = new Set<string>();
      let kept = 0;
      for (let pushes = 0; pushes < 4; pushes++) {
        const events = await Promise.all(Array.from({ length: 50 }, () => peer.event({ filler })));
        const body = { events: events.map((event) => ({ event, ttl: LIMITS.eventTtl })) };
        const { text } = await send(await peer.signed(known, "/api/federation/events", body));
        const answer = pushAnswer.parse(JSON.parse(text));
        kept += answer.accepted;
        for (const { code } of answer.errors) codes.add(code);
      }
      expect([...codes]).toEqual(["events/quota-spent"]);
      const { origins = [] } = await pool.admin.federation();
      const own = origins.find(({ atom_id }) => atom_id === peer.id);
      expect(own?.events).toBe(kept);
      expect(own?.bytes).toBeLessThanOrEqual(1024 ** 2);
      expect(own?.bytes).toBeGreaterThan(1024 ** 2 - 20_000);
    });
  });

  it("that disconnects before its answer blocks no other request", async () => {
    await withPeer(async (peer) => {
      const known = await openTo(pool);
      await pool.admin.addPeer({ url: peer.url });
      await pool.admin.trustPeer(peer.id, 2);
      const pull = { target: "/api/federation/events?since=0" };
      const left = Array.from({ length: 20 }, () => statusOf(peer, known, pull, AbortSignal.timeout(1)));
      await Promise.all(left);
      let status = "429";
      while (status === "429") status = await statusOf(peer, known, pull, never);
      expect(status).toBe("200");
    });
  });
});
