import { beforeAll, describe, expect, it } from "vitest";
import { type PoolProcess, startPool, startWorker, waitFor } from "./support.ts";

/** Two pools and a third one over real HTTP on loopback. Each has its own workerd and folder. */

let [a, b, c]: PoolProcess[] = [];
const pools = () => [a, b, c] as [PoolProcess, PoolProcess, PoolProcess];
const id = (pool: PoolProcess) => pool.credentials.atom_id;

beforeAll(async () => {
  [a, b, c] = await Promise.all([startPool(), startPool(), startPool()]);
  for (const pool of pools()) await pool.admin.changeFederation({ allow_private_peers: true });
});

/** The events of an audience, oldest first. */
async function events(pool: PoolProcess, audience: "all" | "public" | "peers" = "all") {
  const { events } = await pool.admin.events(audience, 500);
  return events.map(({ event }) => JSON.parse(atob(event.event_bytes)) as { type: string; origin: string });
}

describe("two pools", () => {
  it("prove their keys to each other, and list each other at trust 1", async () => {
    const [a, b] = pools();
    expect(await a.admin.addPeer({ url: b.url, atom_id: id(b) })).toMatchObject({
      atom_id: id(b),
      granted: 1,
      added_by: "admin",
      signature_version: 2,
    });
    expect(await b.admin.peers()).toMatchObject([{ atom_id: id(a), url: a.url, granted: 1, added_by: "peer" }]);
  });

  it("are bonded when both admins have granted trust 3, and not before", async () => {
    const [a, b] = pools();
    expect(await a.admin.trustPeer(id(b), 3)).toMatchObject({ granted: 3, effective: 2 });
    await waitFor(async () => (await b.admin.peer(id(a))).received === 3, 5_000, "the grant to arrive");
    expect(await b.admin.peer(id(a))).toMatchObject({ granted: 1, effective: 1, awaits_admin: 3 });
    expect(await b.admin.trustPeer(id(a), 3)).toMatchObject({ effective: 3, awaits_admin: null });
    await waitFor(async () => (await a.admin.peer(id(b))).effective === 3, 5_000, "the bond");
  });

  it("see the other's worker join; a pool without a bond does not", async () => {
    const [a, b, c] = pools();
    await c.admin.addPeer({ url: a.url });
    await startWorker(a);
    const joined = { type: "worker_joined", origin: id(a) };
    await waitFor(
      async () => (await events(b)).some((event) => event.type === "worker_joined" && event.origin === id(a)),
      10_000,
      "the event to arrive",
    );
    expect(await events(b)).toContainEqual(expect.objectContaining(joined));
    expect(await events(c)).not.toContainEqual(expect.objectContaining({ type: "worker_joined" }));
  });
});
