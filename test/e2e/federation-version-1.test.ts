import { beforeAll, expect, it } from "vitest";
import { openFederation } from "./federation-support.ts";
import { ScriptedPeer } from "./scripted-peer.ts";
import { ligand, type PoolProcess, startPool, waitFor } from "./support.ts";

/**
 * A pool of the existing network (docs/spec/federation.md#endpoints) on its own socket, and ours. Either may start the
 * contact.
 */

let pool: PoolProcess;
beforeAll(async () => {
  pool = await startPool();
  await openFederation(pool);
});

async function oldPeer(): Promise<ScriptedPeer> {
  const peer = await ScriptedPeer.start();
  peer.version = 1;
  return peer;
}
const operator = (...args: string[]) => ligand([...args, "--state", pool.stateDir]);
const followed = async (peer: ScriptedPeer) => (await pool.admin.peer(peer.id)).sync[0]?.followed.seq;

it("an admin who adds it learns which setting refuses it, and the pool sends it nothing signed", async () => {
  const peer = await oldPeer();
  const added = await operator("peers", "add", peer.url);
  expect(added).toMatchObject({ code: 1, stdout: "" });
  expect(added.stderr).toContain("supports only signature version 1");
  expect(added.stderr).toContain("To allow it: npm run ligand -- federation set legacy_signatures=reads");
  expect(peer.asked).toEqual(["GET /v1/federation/info"]);
  await expect(peer.shakeHands(pool)).rejects.toThrow();
});

it.each<[who: string, meet: (peer: ScriptedPeer) => Promise<unknown>]>([
  ["our operator adds it", async (peer) => expect(await operator("peers", "add", peer.url)).toMatchObject({ code: 0 })],
  ["it shakes hands", (peer) => peer.shakeHands(pool)],
])(
  "when %s, it is admitted in version 1: it reads our log, and once it may grant, we follow its log",
  async (_who, meet) => {
    expect(await operator("federation", "set", "legacy_signatures=reads")).toMatchObject({ code: 0 });
    const peer = await oldPeer();
    await meet(peer);
    expect(await pool.admin.peer(peer.id)).toMatchObject({ url: peer.url, effective: 1, signature_version: 1 });
    await pool.admin.trustPeer(peer.id, 2);
    expect((await peer.ask(pool, "GET", "/api/federation/events?since=0")).status).toBe(200);
    // A grant is a push, which takes more than a read.
    await expect(peer.grant(pool, 2)).rejects.toThrow();
    expect(await operator("federation", "set", "legacy_signatures=all")).toMatchObject({ code: 0 });
    await peer.grant(pool, 2);
    await peer.publish({});
    await waitFor(async () => (await followed(peer)) === 1, 15_000, "its event");
    expect(peer.versionsAsked).toEqual(new Set([1]));
  },
);

it("while the switch is off again nothing is sent to it, and it is not reported as silent", async () => {
  const peer = await oldPeer();
  await pool.admin.addPeer({ url: peer.url });
  await pool.admin.changeFederation({ legacy_signatures: "off" });
  const before = peer.asked.length;
  await pool.admin.trustPeer(peer.id, 2);
  expect(await pool.admin.peer(peer.id)).toMatchObject({ deliveries_waiting: 1, circuit: "closed" });
  expect(peer.asked).toHaveLength(before);
  await pool.admin.changeFederation({ legacy_signatures: "all" });
  await waitFor(async () => (await pool.admin.peer(peer.id)).deliveries_waiting === 0, 15_000, "the grant to arrive");
});
