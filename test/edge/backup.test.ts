import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { toHex } from "../../schema/crypto/bytes.ts";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import { openEvent } from "../../schema/crypto/signed-event.ts";
import type { SignedEvent } from "../../schema/wire/events.ts";
import { admin, ask, chat, createKey, invite } from "./support.ts";

interface Exported {
  tables: Record<"admin_tokens" | "client_keys" | "worker_tokens" | "workers" | "peers", Record<string, unknown>[]>;
  metering: { until: number; rows: number };
}
const exported = () => admin<Exported>("GET", "/export");
const importing = (table: string, rows: object[], want: number) =>
  admin<object>("POST", "/import", { table, rows }, want);

/** The payloads of all `record_imported` events, oldest first. */
async function imports(): Promise<unknown[]> {
  const page = await admin<{ events: { event: SignedEvent }[] }>("GET", "/events?limit=500");
  const opened = await Promise.all(page.events.map(({ event }) => openEvent(event)));
  return opened.flatMap((each) => {
    if (!each.ok || each.event.type !== "record_imported") return [];
    expect(each.event.visibility).toBe("private");
    return [each.event.payload];
  });
}

describe("an import", () => {
  it("restores accounts, tokens and admins from their rows, and a repeat changes nothing", async () => {
    const row = {
      id: "00000000000000aa",
      label: "imported",
      secretSha256: "0".repeat(64),
      requestsPerMinute: 1,
      tokensPerMinute: 1,
      streams: 1,
      createdBy: "alice",
      createdAtMs: 1,
      revokedBy: null,
      revokedAtMs: null,
    };
    for (let i = 0; i < 2; i++)
      expect(await importing("client_keys", [row], 200)).toEqual({ table: "client_keys", rows: 1 });
    expect((await exported()).tables.client_keys).toContainEqual(row);
  });

  it("restores peers with the decisions about them, and refuses a row whose id is not its key's", async () => {
    const signer = await signerFrom(generateSecretKey());
    const row = {
      id: signer.id,
      publicKey: toHex(signer.publicKey),
      name: "Elsewhere",
      url: "https://elsewhere.example",
      capabilities: '["chat"]',
      authTier: "device-bound",
      granted: 3,
      received: 3,
      effective: 3,
      awaitsAdmin: null,
      addedByAdmin: true,
      decidedBy: "alice",
      signatureVersion: 2,
      circuit: "closed",
      addedAtMs: 1,
      seenAtMs: 2,
      revokedAtMs: null,
      removedAtMs: null,
    };
    for (let i = 0; i < 2; i++) await importing("peers", [row], 200);
    // The peer's grant is not restored: the peer may have withdrawn it since.
    const restored = { ...row, received: 0, effective: 2 };
    expect((await exported()).tables.peers).toContainEqual(restored);
    await admin("PUT", `/peers/${signer.id}/trust`, { level: 0 });
    expect(await importing("peers", [row], 409)).toMatchObject({ error: { code: "not_empty" } });
    expect(await admin("GET", `/peers/${signer.id}`)).toMatchObject({ granted: 0, effective: 0 });
    await importing("peers", [{ ...row, id: "0".repeat(64) }], 409);
    expect((await exported()).tables.peers).toHaveLength(1);
  });

  it("undoes no revocation, and changes no row that exists", async () => {
    const key = await createKey();
    const token = await invite();
    const made = await admin<{ id: string }>("POST", "/admins", { name: "alice" });
    const before = await exported();
    await admin("DELETE", `/keys/${key.id}`);
    await admin("DELETE", `/workers/tokens/${token.id}`);
    await admin("DELETE", `/admins/${made.id}`);
    const after = await exported();
    for (const table of ["client_keys", "worker_tokens", "admin_tokens"] as const) {
      expect(await importing(table, before.tables[table], 409)).toMatchObject({ error: { code: "not_empty" } });
    }
    expect((await exported()).tables).toEqual(after.tables);
    expect((await chat(key)).status).toBe(401);
  });

  it("is for the bootstrap admin only, and the log records each import, refused or not", async () => {
    const { token, id } = await admin<{ id: string; token: string }>("POST", "/admins", { name: "bob" });
    const before = await exported();
    const rows = before.tables.admin_tokens;
    const asBob = await ask("/admin/api/import", {
      method: "POST",
      headers: { authorization: `Bearer ${token}` },
      body: JSON.stringify({ table: "admin_tokens", rows }),
    });
    expect([asBob.status, asBob.headers.get("x-ligand-code")]).toEqual([403, "admins/bootstrap-required"]);
    const importCount = (await imports()).length;
    await importing("admin_tokens", rows, 200);
    await admin("DELETE", `/admins/${id}`);
    await importing("admin_tokens", rows, 409);
    expect((await imports()).slice(importCount)).toEqual([
      { table: "admin_tokens", rows: rows.length, outcome: "taken", by: "admin" },
      { table: "admin_tokens", rows: rows.length, outcome: "refused", by: "admin" },
    ]);
  });

  it("of a copied state starts a new log, for the bootstrap admin only, and forgets received grants", async () => {
    const { token } = await admin<{ token: string }>("POST", "/admins", { name: "dave" });
    const asDave = await ask("/admin/api/new-log", { method: "POST", headers: { authorization: `Bearer ${token}` } });
    expect([asDave.status, asDave.headers.get("x-ligand-code")]).toEqual([403, "admins/bootstrap-required"]);
    const log = env.EVENT_LOG.getByName("pool");
    const before = await log.heads();
    const started = await admin<{ log_id: string }>("POST", "/new-log", undefined, 200);
    expect(started).toEqual({ log_id: expect.stringMatching(/^[0-9a-f]{32}$/), before: before.log_id });
    expect(await log.heads()).toMatchObject({ log_id: started.log_id, public: before.public, peers: before.peers });
    const { events } = await admin<{ events: { event: SignedEvent }[] }>("GET", "/events?limit=1");
    expect(await openEvent(events[0]?.event as SignedEvent)).toMatchObject({
      event: { type: "log_started", visibility: "private", payload: { by: "admin", ...started } },
    });
  });

  it("refuses an admin with the bootstrap token's name", async () => {
    const { id } = await admin<{ id: string }>("POST", "/admins", { name: "carol" });
    const carol = (await exported()).tables.admin_tokens.find((row) => row.id === id);
    for (const name of ["admin", "Admin"]) {
      await importing("admin_tokens", [{ ...carol, id: "00000000000000bb", name }], 400);
    }
  });

  it("refuses a row with a time that cannot be displayed, because it would break the list of keys", async () => {
    const { client_keys } = (await exported()).tables;
    const [key] = client_keys;
    for (const createdAtMs of [-1, 8_640_000_000_000_001]) {
      await importing("client_keys", [{ ...key, id: "00000000000000cc", createdAtMs }], 400);
    }
    expect(await admin("GET", "/keys")).toMatchObject({ keys: expect.any(Array) });
  });

  it.each<[what: string, body: unknown]>([
    ["an unknown table", { table: "d1_migrations", rows: [] }],
    ["a row of another shape", { table: "client_keys", rows: [{ id: "x" }] }],
    ["a type that is not the column's", { table: "workers", rows: [{ id: 1 }] }],
    ["too many rows", { table: "metering", rows: Array(501).fill({}) }],
    ["nothing", null],
  ])("takes no %s", async (_what, body) => {
    expect(await admin("POST", "/import", body, 400)).toMatchObject({ error: { code: "invalid_value" } });
  });
});

it("pages of metering do not change while they are read", async () => {
  const insert = (id: number) =>
    env.DB.prepare(
      `INSERT INTO metering (job_id, key_id, model, kind, outcome, prompt_tokens, completion_tokens, flags, attempts,
       queued_ms, accepted_at_ms, ended_at_ms) VALUES (?, 'k', 'm', 'chat', 'done', 1, 1, '', 1, 0, 1, 2)`,
    ).bind(`job-${id}`);
  await env.DB.batch(Array.from({ length: 1_001 }, (_, i) => insert(i)));
  const { metering } = await exported();
  expect(metering.rows).toBe(1_001);
  const ids: unknown[] = [];
  for (let after: number | null = 0; after !== null; ) {
    const page: { rows: { jobId: string }[]; next: number | null } = await admin(
      "GET",
      `/export/metering?after=${after}&until=${metering.until}`,
    );
    ids.push(...page.rows.map(({ jobId }) => jobId));
    if (ids.length === 500) await env.DB.batch([insert(5_000)]);
    after = page.next;
  }
  expect(new Set(ids).size).toBe(1_001);
  expect(ids).not.toContain("job-5000");
  await admin("GET", "/export/metering?after=x&until=1", undefined, 400);
});

it("is for admins only, and never contains the pool's secret key", async () => {
  for (const [method, path] of [
    ["GET", "/export"],
    ["GET", "/export/metering?after=0&until=9"],
    ["POST", "/import"],
    ["GET", "/doctor"],
  ] as const) {
    expect((await ask(`/admin/api${path}`, { method })).status).toBe(401);
  }
  expect(JSON.stringify(await exported())).not.toContain(env.POOL_SECRET_KEY);
});
