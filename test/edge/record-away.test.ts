import { runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { ADMIN_TOKENS, MAIN_LANE } from "../../edge/object-names.ts";
import { utf8 } from "../../schema/crypto/bytes.ts";
import { FEDERATION_POLICY_DEFAULTS } from "../../schema/wire/federation.ts";
import { freshPool, type PeerDouble, peerAt } from "./peer-double.ts";
import { admin, ask, chat, createKey, eventually, invite } from "./support.ts";

/** A revocation takes effect with the next request, also while D1 is away; the record follows. */

const TABLES = ["client_keys", "worker_tokens", "admin_tokens", "peers"] as const;
const STATUS = "/api/federation/status";
let isAway = false;

const rename = async (from: string, to: string) => {
  for (const table of TABLES) await env.DB.exec(`ALTER TABLE ${table}${from} RENAME TO ${table}${to}`);
};
async function goAway(): Promise<void> {
  isAway = true;
  await rename("", "_away");
}
async function comeBack(): Promise<void> {
  if (isAway) await rename("_away", "");
  isAway = false;
}
const revokedAtMs = (table: (typeof TABLES)[number], id: string) =>
  env.DB.prepare(`SELECT revoked_at_ms FROM ${table} WHERE id = ?`).bind(id).first<number | null>("revoked_at_ms");

beforeAll(() => freshPool());
afterEach(comeBack);

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

describe("while D1 is away, revoking", () => {
  it("a client key", async () => {
    const key = await createKey();
    expect((await chat(key)).status).toBe(404);
    await goAway();
    const revoked = await admin<{ recorded: boolean }>("DELETE", `/keys/${key.id}`);
    expect(revoked).toMatchObject({ id: key.id, revoked_at: expect.any(String), recorded: false });
    expect((await chat(key)).status).toBe(401);
    await comeBack();
    await runDurableObjectAlarm(env.ACCOUNT.getByName(key.id));
    expect(await revokedAtMs("client_keys", key.id)).toBe(
      Date.parse((revoked as { revoked_at?: string }).revoked_at ?? ""),
    );
    expect(await admin("DELETE", `/keys/${key.id}`)).toEqual({ ...revoked, recorded: true });
  });

  it("a client key that D1 never had", async () => {
    await goAway();
    const key = await createKey();
    expect(await admin("DELETE", `/keys/${key.id}`)).toMatchObject({ recorded: false });
    expect((await chat(key)).status).toBe(401);
  });

  it("a worker token", async () => {
    const { id, token } = await invite();
    await goAway();
    expect(await admin("DELETE", `/workers/tokens/${id}`)).toMatchObject({ id, recorded: false });
    const headers = {
      ...bearer(token),
      upgrade: "websocket",
      "sec-websocket-protocol": "ligand.worker.v1",
    };
    expect((await ask("/v1/workers/connect", { headers })).status).toBe(401);
    await comeBack();
    await runDurableObjectAlarm(env.LANE.getByName(MAIN_LANE));
    expect(await revokedAtMs("worker_tokens", id)).toEqual(expect.any(Number));
  });

  it("an admin token", async () => {
    const { id, token } = await admin<{ id: string; token: string }>("POST", "/admins", { name: "away" });
    expect((await ask("/admin/api/pool", { headers: bearer(token) })).status).toBe(200);
    await goAway();
    expect(await admin("DELETE", `/admins/${id}`)).toMatchObject({ id, recorded: false });
    expect((await ask("/admin/api/pool", { headers: bearer(token) })).status).toBe(401);
    await comeBack();
    await runDurableObjectAlarm(env.ADMIN_TOKENS.getByName(ADMIN_TOKENS));
    expect(await revokedAtMs("admin_tokens", id)).toEqual(expect.any(Number));
  });

  it("a peer", async () => {
    const peer = await peerAt(2);
    expect(await peer.outcomeOf("GET", STATUS)).toBe("200");
    await goAway();
    expect(await admin("PUT", `/peers/${peer.id}/trust`, { level: 0 })).toMatchObject({ granted: 0, recorded: false });
    // This isolate still knows the peer's key, because it cannot read the peers from D1. The bond refuses the request.
    expect(await peer.outcomeOf("GET", STATUS)).toBe("403 federation/untrusted");
    await comeBack();
    await eventually(async () => {
      await runDurableObjectAlarm(peer.bond());
      return revokedAtMs("peers", peer.id);
    });
    expect(await admin("GET", `/peers/${peer.id}`)).not.toHaveProperty("recorded");
  });

  it("and removing a peer", async () => {
    const peer = await peerAt(2);
    expect(await peer.outcomeOf("GET", STATUS)).toBe("200");
    await goAway();
    expect(await admin("DELETE", `/peers/${peer.id}`)).toEqual({ atom_id: peer.id, removed: true, recorded: false });
    expect(await peer.outcomeOf("GET", STATUS)).toBe("401 federation/unauthenticated");
  });
});

it.each([
  ["DELETE", "/keys/0123456789abcdef"],
  ["DELETE", "/keys/no-id"],
  ["DELETE", `/peers/${"0".repeat(64)}`],
  ["DELETE", "/peers/no-id"],
  ["PUT", `/peers/${"0".repeat(64)}/trust`],
])("%s %s of an unknown id is 404, whether D1 is available or not", async (method, path) => {
  const body = method === "PUT" ? { level: 0 } : undefined;
  await admin(method, path, body, 404);
  await goAway();
  await admin(method, path, body, 404);
});

describe("an evicted stranger", () => {
  const isRecorded = async (peer: PeerDouble) =>
    (await env.DB.prepare("SELECT id FROM peers WHERE id = ?").bind(peer.id).first()) !== null;
  const isCounted = async (peer: PeerDouble) => peer.id in (await env.PEER_REGISTRY.getByName("pool").statuses());

  it("is not restored by pending rows, nor by its requests meanwhile", async () => {
    const peer = await peerAt(1);
    await goAway();
    // Its row is in the outbox and cannot be sent.
    await peer.bond().register(peer.card({ name: "renamed" }), FEDERATION_POLICY_DEFAULTS, 2);
    await peer.bond().evict();
    expect(await peer.outcomeOf("GET", STATUS)).toBe("401 federation/unauthenticated");
    // Like a call that was running: its changes no longer belong in the record.
    const push = { events: [{ event: await peer.grant(2), ttl: 0 }] };
    await peer.bond().push(utf8(JSON.stringify(push)), FEDERATION_POLICY_DEFAULTS);
    await comeBack();
    await eventually(async () => {
      await runDurableObjectAlarm(peer.bond());
      return !(await isRecorded(peer));
    });
    expect([await isRecorded(peer), await isCounted(peer)]).toEqual([false, false]);
    expect(await peer.bond().effectiveTrust("oauth-verified")).toBe(0);
  });

  it("stays a peer where it registers again during the eviction", async () => {
    const peer = await peerAt(1);
    await goAway();
    await peer.bond().evict();
    expect(await peer.outcomeOf("GET", STATUS)).toBe("401 federation/unauthenticated");
    await comeBack();
    await peer.register();
    await runDurableObjectAlarm(peer.bond());
    expect([await isRecorded(peer), await isCounted(peer)]).toEqual([true, true]);
    expect(await peer.outcomeOf("GET", STATUS)).toBe("200");
  });
});
