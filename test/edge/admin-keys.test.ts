import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { checkFederation } from "../../edge/pool/federation-check.ts";
import { adminKeys } from "../../edge/pool/pool-policy.ts";
import type { PoolPolicy } from "../../edge/pool/pool-policy-object.ts";
import { toHex } from "../../schema/crypto/bytes.ts";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import { openEvent } from "../../schema/crypto/signed-event.ts";
import { type AdminKey, addedAdminKey, adminKeyList, removedAdminKey } from "../../schema/wire/admin-keys.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { freshPool, OURS, peerAt, setPolicy } from "./peer-double.ts";
import { admin, ask } from "./support.ts";

/** The keys that sign write requests: who may register which, and that writes are off without any. */

beforeEach(() => freshPool());
afterEach(() => vi.restoreAllMocks());

const newKey = async () => toHex((await signerFrom(generateSecretKey())).publicKey);
const register = async (body: object, want = 201) =>
  addedAdminKey.parse(await admin("POST", "/admin-keys", body, want));
const remove = async ({ key_id }: Pick<AdminKey, "key_id">) =>
  removedAdminKey.parse(await admin("DELETE", `/admin-keys/${key_id}`));
const listed = async () => adminKeyList.parse(await admin("GET", "/admin-keys")).keys;
const policyObject = () =>
  env.POOL_POLICY.getByName("pool") as unknown as DurableObjectStub<PoolPolicy & Rpc.DurableObjectBranded>;

/** Status and code of a refusal. */
async function refusal(method: string, path: string, body?: object): Promise<string> {
  const response = await ask(`/admin/api${path}`, {
    method,
    headers: { authorization: `Bearer ${env.ADMIN_TOKEN}` },
    ...(body && { body: JSON.stringify(body) }),
  });
  await response.body?.cancel();
  return `${response.status} ${response.headers.get("x-ligand-code")}`;
}

/** The events of the log that are about keys and switches, without those of `freshPool`. */
async function logged(): Promise<[type: string, payload: unknown][]> {
  const { events } = await env.EVENT_LOG.getByName("pool").read("all", 0, 500);
  const opened = await Promise.all(events.map(({ event }) => openEvent(event)));
  const ofKeys = opened.flatMap((each): [string, unknown][] =>
    each.ok ? [[each.event.type, each.event.payload]] : [],
  );
  return ofKeys.filter(
    ([type, payload]) => /^admin_key_|^policy_/.test(type) && !JSON.stringify(payload).includes("max_peers"),
  );
}

describe("registering", () => {
  it("keeps a key of this pool's admin and one of a peer's, also after an eviction", async () => {
    const peer = await peerAt(1);
    const own = await register({ public_key: await newKey(), label: "Zoë 日本 🔑" });
    const theirs = await register({ public_key: await newKey(), peer: peer.id });
    expect(own).toMatchObject({ peer: null, label: "Zoë 日本 🔑", added_by: "admin", is_new: true });
    expect(theirs).toMatchObject({ peer: peer.id, label: "" });
    await evictDurableObject(env.POOL_POLICY.getByName("pool") as unknown as DurableObjectStub);
    expect((await listed()).map(({ key_id }) => key_id)).toEqual([own.key_id, theirs.key_id]);
    expect(await adminKeys(env)).toEqual(await listed());
    expect(await logged()).toEqual([
      ["admin_key_added", { key_id: own.key_id, peer: null, by: "admin" }],
      ["admin_key_added", { key_id: theirs.key_id, peer: peer.id, by: "admin" }],
    ]);
  });

  it("takes the same key of the same owner again, and records it once", async () => {
    const peer = await peerAt(1);
    const public_key = await newKey();
    const first = await register({ public_key, peer: peer.id, label: "first" });
    const again = await register({ public_key, peer: peer.id, label: "second" }, 200);
    expect(again).toEqual({ ...first, is_new: false });
    expect(await refusal("POST", "/admin-keys", { public_key })).toBe("409 admin-keys/taken");
    expect(await refusal("POST", "/admin-keys", { public_key, peer: (await peerAt(1)).id })).toBe(
      "409 admin-keys/taken",
    );
    expect(await logged()).toHaveLength(1);
  });

  it.each<[what: string, body: () => object | Promise<object>, want: string]>([
    ["a key of small order", () => ({ public_key: `01${"00".repeat(31)}` }), "400 admin-keys/weak-key"],
    ["a key that is not canonical", () => ({ public_key: "f".repeat(64) }), "400 admin-keys/weak-key"],
    ["bytes off the curve", () => ({ public_key: `02${"00".repeat(31)}` }), "400 admin-keys/weak-key"],
    ["upper case", async () => ({ public_key: (await newKey()).toUpperCase() }), "400 http/invalid-body"],
    ["this pool's own key", () => ({ public_key: toHex(OURS.publicKey) }), "409 admin-keys/pool-key"],
    [
      "a peer's own key",
      async () => {
        const peer = await peerAt(1);
        return { public_key: toHex(peer.signer.publicKey), peer: peer.id };
      },
      "409 admin-keys/pool-key",
    ],
    [
      "an unknown peer",
      async () => ({ public_key: await newKey(), peer: "a".repeat(64) }),
      "404 federation/peer-not-found",
    ],
    [
      "a label that is too long",
      async () => ({ public_key: await newKey(), label: "x".repeat(LIMITS.adminKeyLabelChars + 1) }),
      "400 http/invalid-body",
    ],
  ])("refuses %s", async (_what, body, want) => {
    expect(await refusal("POST", "/admin-keys", await body())).toBe(want);
    expect(await listed()).toEqual([]);
  });

  it("refuses one key more than the pool keeps", async () => {
    const full = Array.from(
      { length: LIMITS.adminKeys },
      (_, i): AdminKey => ({ key_id: String(i), public_key: "", peer: null, label: "", added_by: "", added_at_ms: 0 }),
    );
    await runInDurableObject(policyObject(), (object) => {
      (object as PoolPolicy).keysOfAdmins = full;
    });
    expect(await refusal("POST", "/admin-keys", { public_key: await newKey() })).toBe("409 admin-keys/too-many");
  });

  it("does not remove an unknown key", async () => {
    expect(await refusal("DELETE", `/admin-keys/${"a".repeat(64)}`)).toBe("404 admin-keys/not-found");
  });
});

describe("accept_writes", () => {
  const writes = async () => {
    const checked = await checkFederation(env);
    return checked.open && checked.policy.accept_writes;
  };

  it("needs a key, and the removal of the last key turns it off in the same commit", async () => {
    expect(await refusal("PATCH", "/federation", { accept_writes: true })).toBe("409 federation/no-admin-key");
    const one = await register({ public_key: await newKey() });
    const two = await register({ public_key: await newKey() });
    await setPolicy({ accept_writes: true });
    expect(await remove(one)).toMatchObject({ turned_writes_off: false, policy: { accept_writes: true } });
    expect(await writes()).toBe(true);
    expect(await remove(two)).toMatchObject({ turned_writes_off: true, policy: { accept_writes: false } });
    expect(await writes()).toBe(false);
    expect((await logged()).slice(2)).toEqual([
      ["policy_changed", { by: "admin", federation: { accept_writes: true } }],
      ["admin_key_removed", { key_id: one.key_id, peer: null, by: "admin" }],
      ["admin_key_removed", { key_id: two.key_id, peer: null, by: "admin" }],
      ["policy_changed", { by: "admin", federation: { accept_writes: false } }],
    ]);
    expect(await refusal("PATCH", "/federation", { accept_writes: true })).toBe("409 federation/no-admin-key");
  });

  it("is never on without a key, in whatever order an admin turns it on while another removes the last key", async () => {
    for (let i = 0; i < 10; i++) {
      const key = await register({ public_key: await newKey() });
      const turnOn = () => refusal("PATCH", "/federation", { accept_writes: true });
      await Promise.all(i % 2 ? [remove(key), turnOn()] : [turnOn(), remove(key)]);
      expect(await listed()).toEqual([]);
      await runInDurableObject(policyObject(), (object) =>
        expect((object as PoolPolicy).check().accept_writes).toBe(false),
      );
    }
  });
});
