import { beforeAll, describe, expect, it } from "vitest";
import { peerStatusAnswer } from "../../schema/wire/federation.ts";
import { openFederation } from "./federation-support.ts";
import { ligand, type PoolProcess, startPool, waitFor } from "./support.ts";
import { Version1Peer } from "./version-1-peer.ts";

/**
 * A pool of the existing network (docs/spec/federation.md#endpoints) on its own socket, and ours. Either may start the
 * contact.
 */

let pool: PoolProcess;
beforeAll(async () => {
  pool = await startPool();
  await openFederation(pool);
});

const operator = (...args: string[]) => ligand([...args, "--state", pool.stateDir]);

it("an admin who adds it learns which setting refuses it, and the pool sends it nothing signed", async () => {
  const peer = await Version1Peer.start();
  const added = await operator("peers", "add", peer.url);
  expect(added).toMatchObject({ code: 1, stdout: "" });
  expect(added.stderr).toContain("supports only signature version 1");
  expect(added.stderr).toContain("To allow it: npm run ligand -- federation set legacy_signatures=reads");
  expect(peer.received).toEqual(["GET /v1/federation/info"]);
  await expect(peer.shakeHands(pool)).rejects.toThrow("target returned 401");
});

describe.each<[who: string, meet: (peer: Version1Peer) => Promise<unknown>]>([
  ["our operator adds it", async (peer) => expect(await operator("peers", "add", peer.url)).toMatchObject({ code: 0 })],
  ["it shakes hands", (peer) => peer.shakeHands(pool)],
])("when %s", (_who, meet) => {
  let peer: Version1Peer;
  beforeAll(async () => {
    peer = await Version1Peer.start();
  });

  it("it is admitted in version 1, and reads our molecule and our log", async () => {
    expect(await operator("federation", "set", "legacy_signatures=reads")).toMatchObject({ code: 0 });
    await meet(peer);
    expect(await pool.admin.peer(peer.id)).toMatchObject({ url: peer.url, effective: 1, signature_version: 1 });
    await pool.admin.trustPeer(peer.id, 2);
    expect((await peer.send(pool, "GET", "/v1/federation/molecule")).status).toBe(200);
    expect((await peer.send(pool, "GET", "/api/federation/events")).status).toBe(200);
    // It has no event endpoint: our grant ends there.
    await waitFor(async () => (await pool.admin.peer(peer.id)).deliveries_waiting === 0, 15_000, "the grant to end");
  });

  it("and both admins grant 3, each asks the other for events and is answered", async () => {
    expect(await operator("federation", "set", "legacy_signatures=all")).toMatchObject({ code: 0 });
    const us = peer.pool.met.get(pool.credentials.atom_id);
    if (us === undefined) throw new Error("it does not know our pool");
    us.trust = 3;
    expect((await operator("peers", "trust", peer.id, "3")).stdout).toContain("One-sided bond: you granted trust 3");
    expect(peerStatusAnswer.parse(await peer.status(pool))).toMatchObject({ ok: true, workers: 0 });

    const id = `fadm_${peer.id.slice(0, 16)}`;
    expect(await peer.askForEvents(pool, id)).toMatchObject({ ok: true, request_id: id, status: "pending" });
    // The list is read from D1, which has the request a moment later.
    const isListed = async () => (await operator("requests", "list", "--waiting")).stdout.includes(id);
    await waitFor(isListed, 15_000, "the request in the list");
    expect(await operator("requests", "approve", id)).toMatchObject({ code: 0 });
    await waitFor(() => peer.pool.asked.get(id)?.callback !== null, 15_000, "our callback");
    expect(peer.pool.asked.get(id)?.callback).toMatchObject({ final_status: "executed", execution_error: null });

    const sent = await operator("requests", "send", peer.id, "query_events", "limit=5", "--json");
    const { request_id, status } = JSON.parse(sent.stdout) as { request_id: string; status: string };
    expect(status).toBe("pending");
    expect(peer.pool.inbox).toMatchObject([{ request_id, origin_pool_id: pool.credentials.atom_id }]);
    expect(await peer.callBack(pool, request_id)).toMatchObject({ ok: true });
    const answered = await pool.admin.request({ direction: "sent", peer: peer.id, request_id });
    expect(answered).toMatchObject({ status: "executed", result: { count: 1 } });
    expect(peer.versionsReceived).toEqual(new Set([1]));
  });
});

it("a pool that revoked ours is told as that", async () => {
  await pool.admin.changeFederation({ legacy_signatures: "all" });
  const peer = await Version1Peer.start();
  await pool.admin.addPeer({ url: peer.url });
  const us = peer.pool.met.get(pool.credentials.atom_id);
  if (us !== undefined) us.isRevoked = true;
  const added = await operator("peers", "add", peer.url);
  expect(added).toMatchObject({ code: 1, stdout: "" });
  expect(added.stderr).toContain("The other pool has revoked this one. It says: peer revoked");
});

it("while the switch is off again nothing is sent to it, and it is not reported as silent", async () => {
  await pool.admin.changeFederation({ legacy_signatures: "all" });
  const peer = await Version1Peer.start();
  await pool.admin.addPeer({ url: peer.url });
  await pool.admin.changeFederation({ legacy_signatures: "off" });
  const before = peer.received.length;
  await pool.admin.trustPeer(peer.id, 2);
  expect(await pool.admin.peer(peer.id)).toMatchObject({ deliveries_waiting: 1, circuit: "closed" });
  expect(peer.received).toHaveLength(before);
  await pool.admin.changeFederation({ legacy_signatures: "all" });
  await waitFor(() => peer.received.includes("POST /api/federation/events"), 15_000, "the grant to be sent");
});
