import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeEach, expect, it, vi } from "vitest";
import type { Bond } from "../../edge/federation/bond-object.ts";
import { RecordOutbox } from "../../edge/record/record-outbox.ts";
import type { RecordRow } from "../../schema/db/record-tables.ts";
import { FEDERATION_POLICY_DEFAULTS } from "../../schema/wire/federation.ts";
import { freshPool, type PeerDouble, peerAt, setPolicy } from "./peer-double.ts";
import { admin, createKey, eventually } from "./support.ts";

/** `ligand pool doctor` shows the rows and events that objects have not delivered yet. */

interface Found {
  records: { of: string; held: { waiting: number; refused: number } | null }[];
  untold: { of: string; waiting: number | null }[];
  peers: { atom_id: string; awaits_admin: number | null; waiting_since_ms: number | null; absent: unknown }[];
}

beforeEach(() => freshPool());

const doctor = () => admin<Found>("GET", "/doctor");
const recordsOf = async (name: string) => (await doctor()).records.find(({ of }) => of === name)?.held;

it("checks each client key's object", async () => {
  const [one, two] = [await createKey({}), await createKey({})];
  expect(await recordsOf("client keys")).toEqual({ waiting: 0, refused: 0 });
  const incomplete = { id: "half a row" } as RecordRow<"worker_tokens">;
  for (const { id } of [one, two]) {
    await runInDurableObject(env.ACCOUNT.getByName(id), async (_account, { storage }) => {
      new RecordOutbox(storage, env.DB).put("worker_tokens", incomplete);
    });
  }
  expect(await recordsOf("client keys")).toEqual({ waiting: 2, refused: 0 });
  await runInDurableObject(env.ACCOUNT.getByName(one.id), (_account, { storage }) =>
    new RecordOutbox(storage, env.DB).flush(),
  );
  expect(await recordsOf("client keys")).toEqual({ waiting: 1, refused: 1 });
});

/** The pending rows and events of a peer's bond while neither D1 nor the log answers, and afterwards. */
async function leftBy(peer: PeerDouble, act: (bond: Bond) => Promise<unknown>) {
  const of = async () => {
    const { records, untold } = await doctor();
    return [
      records.find((each) => each.of === "peers")?.held?.waiting,
      untold.find((each) => each.of === "peers")?.waiting,
    ];
  };
  await env.DB.exec("ALTER TABLE peers RENAME TO peers_away");
  const log = vi.spyOn(env.EVENT_LOG, "getByName").mockImplementation(() => {
    throw new Error("the log is away");
  });
  try {
    await runInDurableObject(peer.bond(), act);
  } finally {
    log.mockRestore();
    await env.DB.exec("ALTER TABLE peers_away RENAME TO peers");
  }
  const during = await of();
  const after = await eventually(async () => {
    await runDurableObjectAlarm(peer.bond());
    const left = await of();
    return left.every((n) => n === 0) && left;
  });
  return { during, after };
}

it("shows peers with rows pending for D1 and events pending for the log", async () => {
  const peer = await peerAt(1);
  const by = { name: "somebody", tokenId: "token" };
  const granting = (bond: Bond) => bond.decide(2, by, { ...FEDERATION_POLICY_DEFAULTS, federation: "on" });
  expect(await leftBy(peer, granting)).toEqual({ during: [1, 3], after: [0, 0] });
});

it("shows a removed peer until all its work is done", async () => {
  const peer = await peerAt(2);
  await eventually(async () => peer.received.length === 1);
  expect(await leftBy(peer, (bond) => bond.remove("token"))).toEqual({ during: [1, 2], after: [0, 0] });
});

it("shows the status of peers, and no peer while federation is off", async () => {
  const peer = await peerAt(1);
  await peer.push([await peer.grant(3)]);
  peer.answer = () => {
    throw new TypeError("network connection lost");
  };
  await admin("PUT", `/peers/${peer.id}/trust`, { level: 2 }, 200);
  const found = await eventually(async () => {
    const { peers } = await doctor();
    return peers[0]?.absent != null && peers;
  });
  expect(found).toMatchObject([
    { atom_id: peer.id, effective: 2, awaits_admin: 3, absent: { reason: "silent" }, circuit: "closed" },
  ]);
  expect(found[0]?.waiting_since_ms).toBeGreaterThan(Date.now() - 60_000);
  await setPolicy({ federation: "off" });
  expect((await doctor()).peers).toEqual([]);
});
