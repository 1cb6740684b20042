import { cpSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { freePort } from "../../scripts/runtime/listen-address.ts";
import { bond, expectSound, idsOf, logOf, openFederation, SAID } from "./federation-support.ts";
import { ScriptedPeer } from "./scripted-peer.ts";
import { ligand, startPool, temporaryFolder, waitFor } from "./support.ts";

/**
 * docs/spec/federation.md#trust, docs/spec/events.md#events: a bonded pool is restored from an export while its peers
 * continued.
 */

const env = { LIGAND_PASSPHRASE: "a passphrase of the tests" };

it("a restored pool learns the current grants of its peers: one bond returns by itself, and one was withdrawn", async () => {
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
  // Otherwise the peer would send it once more by itself.
  const hasNothingPending = async () => (await cedar.admin.peer(alder.credentials.atom_id)).deliveries_waiting === 0;
  await waitFor(hasNothingPending, 15_000, "the withdrawal to be delivered");
  await alder.stop();

  const stateDir = join(temporaryFolder(), "fresh");
  expect(await ligand(["pool", "import", file, "--state", stateDir], env)).toMatchObject({ code: 0 });
  const restored = await startPool({ stateDir, port });
  for (const peer of [birch, cedar]) expect(await of(peer)).toMatchObject({ granted: 3, received: 0, effective: 2 });
  await openFederation(restored);
  await waitFor(async () => (await of(birch)).effective === 3, 30_000, "the bond");
  // The peer that withdrew its trust no longer follows this pool; this pool must ask it.
  expect(await of(cedar)).toMatchObject({ granted: 3, received: 0, effective: 2 });
  await restored.admin.addPeer({ url: cedar.url });
  await waitFor(async () => (await of(cedar)).received === 1, 15_000, "the word of whoever withdrew");
  expect(await of(cedar)).toMatchObject({ granted: 3, effective: 2 });
});

it("a pool restored from a copy of its files continues under a new log, and no peer sees two versions of one log", async () => {
  const port = await freePort("127.0.0.1");
  const [alder, birch] = await Promise.all([startPool({ port }), startPool()]);
  await openFederation(alder, birch);
  await bond(alder, birch);
  // Events that other pools send through this one have numbers in its public log.
  const source = await ScriptedPeer.start();
  for (const pool of [alder, birch]) await source.trustEachOther(pool, 2);
  const pushEvent = async (pool: typeof alder) => {
    const events = await source.sign([SAID]);
    expect((await source.push(pool, events)).accepted).toBe(1);
    return events.map(({ content_id }) => content_id);
  };
  const followed = async () => (await birch.admin.peer(alder.credentials.atom_id)).sync[0]?.followed;

  await alder.stop();
  const copy = join(temporaryFolder(), "copy");
  cpSync(alder.stateDir, copy, { recursive: true });
  const forgotten = await startPool({ stateDir: alder.stateDir, port });
  await pushEvent(forgotten);
  await waitFor(async () => (await followed())?.seq === 1, 30_000, "what will be forgotten");
  await forgotten.stop();

  // It listens on another port, so that no peer reaches it.
  const hidden = await startPool({ stateDir: copy });
  const newLog = (...args: string[]) => ligand(["pool", "new-log", "--state", copy, ...args]);
  expect(await newLog()).toMatchObject({ code: 2, stderr: expect.stringContaining("Add --yes.") });
  const done = await newLog("--yes", "--json");
  expect(done).toMatchObject({ code: 0, stderr: "" });
  const { log_id, before } = JSON.parse(done.stdout) as { log_id: string; before: string };
  expect(log_id).not.toBe(before);
  await hidden.stop();

  const restored = await startPool({ stateDir: copy, port });
  const ids = [...(await pushEvent(restored)), ...(await pushEvent(restored))];
  // Including the events that the copy lacked; the peer passes them on.
  const level = async () => (await followed())?.seq === (await logOf(restored, "public")).length;
  await waitFor(async () => (await level()) && (await followed())?.seq === 3, 30_000, "the log from its beginning");
  expect(await followed()).toMatchObject({ equivocated: false });
  expect(idsOf(await logOf(birch, "public"))).toEqual(expect.arrayContaining(ids));
  const peer = birch.credentials.atom_id;
  await waitFor(async () => (await restored.admin.peer(peer)).effective === 3, 30_000, "the bond");
  await expectSound(restored);
});
