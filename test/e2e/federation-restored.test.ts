import { join } from "node:path";
import { expect, it } from "vitest";
import { freePort } from "../../scripts/runtime/listen-address.ts";
import { bond, openFederation } from "./federation-support.ts";
import { ligand, startPool, temporaryFolder, waitFor } from "./support.ts";

/** SPEC 3.3, 4.1: a bonded pool goes back to an export, while its peers went on. */

const env = { LIGAND_PASSPHRASE: "a passphrase of the tests" };

it("what peers grant a restored pool is what they say now: one is bonded again by itself, one has withdrawn", async () => {
  const port = await freePort("127.0.0.1");
  const [alder, birch, cedar] = await Promise.all([startPool({ port }), startPool(), startPool()]);
  await openFederation(alder, birch, cedar);
  for (const peer of [birch, cedar]) await bond(alder, peer);
  const file = join(temporaryFolder(), "alder.export");
  expect(await ligand(["pool", "export", file, "--state", alder.stateDir], env)).toMatchObject({ code: 0 });

  await cedar.admin.trustPeer(alder.credentials.atom_id, 1);
  const of = (peer: typeof birch) => restored.admin.peer(peer.credentials.atom_id);
  await waitFor(
    async () => (await alder.admin.peer(cedar.credentials.atom_id)).received === 1,
    15_000,
    "the withdrawal",
  );
  await alder.stop();

  const stateDir = join(temporaryFolder(), "fresh");
  expect(await ligand(["pool", "import", file, "--state", stateDir], env)).toMatchObject({ code: 0 });
  const restored = await startPool({ stateDir, port });
  for (const peer of [birch, cedar]) expect(await of(peer)).toMatchObject({ granted: 3, received: 0, effective: 2 });
  await openFederation(restored);
  await waitFor(async () => (await of(birch)).effective === 3, 30_000, "the bond");
  // Whoever withdrew follows nothing here any more, and is asked.
  expect(await of(cedar)).toMatchObject({ granted: 3, received: 0, effective: 2 });
  await restored.admin.addPeer({ url: cedar.url });
  await waitFor(async () => (await of(cedar)).received === 1, 15_000, "the word of whoever withdrew");
  expect(await of(cedar)).toMatchObject({ granted: 3, effective: 2 });
});
