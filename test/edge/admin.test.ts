import { evictDurableObject, listDurableObjectIds } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { openEvent } from "../../schema/crypto/signed-event.ts";
import type { SignedEvent } from "../../schema/wire/events.ts";
import { admin, ask } from "./support.ts";

interface Made {
  id: string;
  name: string;
  token: string;
}
const create = (name: string) => admin<Made>("POST", "/admins", { name });
const as = (token: string, method: string, path: string, body?: object) =>
  ask(`/admin/api${path}`, {
    method,
    headers: { authorization: `Bearer ${token}` },
    ...(body && { body: JSON.stringify(body) }),
  });
const row = (table: string, id: string) =>
  env.DB.prepare(`SELECT * FROM ${table} WHERE id = ?`).bind(id).first<Record<string, unknown>>();

/** This test runs before any test that makes a token: a guess must not make the object. */
it("forged admin tokens start no object", async () => {
  const hex = (n: number) =>
    [...crypto.getRandomValues(new Uint8Array(n))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  for (let i = 0; i < 100; i++) {
    expect((await as(`la_${hex(8)}_${hex(20)}_${hex(12)}`, "GET", "/pool")).status).toBe(401);
  }
  expect(await listDurableObjectIds(env.ADMIN_TOKENS)).toEqual([]);
});

describe("a named admin token", () => {
  it("is shown once, and events about its holder's actions carry the name", async () => {
    const alice = await create("alice");
    expect(alice).toMatchObject({
      name: "alice",
      token: expect.stringMatching(/^la_[0-9a-f]{16}_/),
      created_by: "admin",
    });
    const list = await (await as(alice.token, "GET", "/admins")).text();
    expect(list).toContain(alice.id);
    expect(list).not.toContain(alice.token.split("_")[2]);

    const key = await (await as(alice.token, "POST", "/keys", { label: "hers" })).json<{ id: string }>();
    expect(await row("client_keys", key.id)).toMatchObject({ created_by: "alice", revoked_by: null });
    const token = await (await as(alice.token, "POST", "/workers/tokens", {})).json<{ id: string }>();
    expect(await row("worker_tokens", token.id)).toMatchObject({ added_by: "alice", approved_by: "alice" });
    const bob = await create("Bob B.");
    expect(await row("admin_tokens", bob.id)).toMatchObject({ name: "Bob B.", created_by: "admin" });

    await as(bob.token, "DELETE", `/keys/${key.id}`);
    await as(bob.token, "DELETE", `/workers/tokens/${token.id}`);
    expect(await row("client_keys", key.id)).toMatchObject({ created_by: "alice", revoked_by: "Bob B." });
    expect(await row("worker_tokens", token.id)).toMatchObject({ revoked_by: "Bob B." });
    expect((await ask("/metrics", { headers: { authorization: `Bearer ${bob.token}` } })).status).toBe(200);
  });

  it("is refused from the next request after its revocation, also after an eviction", async () => {
    const { id, token } = await create("carol");
    expect((await as(token, "GET", "/pool")).status).toBe(200);
    await admin("DELETE", `/admins/${id}`);
    expect((await as(token, "GET", "/pool")).status).toBe(401);
    expect((await ask("/metrics", { headers: { authorization: `Bearer ${token}` } })).status).toBe(401);
    await evictDurableObject(env.ADMIN_TOKENS.getByName("pool"));
    expect((await as(token, "GET", "/pool")).status).toBe(401);
    expect(await row("admin_tokens", id)).toMatchObject({ revoked_by: "admin", revoked_at_ms: expect.any(Number) });
    await admin("DELETE", "/admins/0123456789abcdef", undefined, 404);
  });

  it("cannot make another token, which would outlive its own revocation", async () => {
    const mallory = await create("mallory the maker");
    const refused = await as(mallory.token, "POST", "/admins", { name: "mallory's friend" });
    expect([refused.status, refused.headers.get("x-ligand-code")]).toEqual([403, "admins/bootstrap-required"]);
    const { admins } = await admin<{ admins: { name: string }[] }>("GET", "/admins");
    expect(admins.map(({ name }) => name)).not.toContain("mallory's friend");
  });

  it("is in our log when it is made, rotated and revoked, once each and by token id", async () => {
    const made = await create("logged");
    const fresh = await (await as(made.token, "POST", `/admins/${made.id}/rotate`)).json<Made>();
    for (let i = 0; i < 2; i++) await admin("DELETE", `/admins/${fresh.id}`);
    const { events } = await admin<{ events: { event: SignedEvent }[] }>("GET", "/events?limit=500");
    const opened = await Promise.all(events.map(({ event }) => openEvent(event)));
    const ids = [made.id, fresh.id];
    const logged = opened.flatMap((each) =>
      each.ok && ids.includes(String(each.event.payload.admin))
        ? [[each.event.type, each.event.visibility, each.event.payload]]
        : [],
    );
    expect(logged).toEqual([
      ["admin_created", "private", { admin: made.id, by: "admin" }],
      ["admin_rotated", "private", { admin: fresh.id, replaces: made.id, by: made.id }],
      ["admin_revoked", "private", { admin: fresh.id, by: "admin" }],
    ]);
  });

  it("is rotated in one step: the new one works, the old one does not, the name stays", async () => {
    const old = await create("dave");
    const fresh = await (await as(old.token, "POST", `/admins/${old.id}/rotate`)).json<Made>();
    expect(fresh).toMatchObject({ name: "dave", created_by: "dave" });
    expect((await as(old.token, "GET", "/pool")).status).toBe(401);
    expect((await as(fresh.token, "GET", "/pool")).status).toBe(200);
    expect(await row("admin_tokens", old.id)).toMatchObject({ revoked_by: "dave" });
    await admin("POST", `/admins/${old.id}/rotate`, undefined, 404);
  });

  it("is revoked with all tokens that replaced it: a thief who rotates a stolen token does not outlive the revocation", async () => {
    const stolen = await create("erin");
    let held = stolen;
    const chain = [stolen.id];
    for (let i = 0; i < 3; i++) {
      held = await (await as(held.token, "POST", `/admins/${held.id}/rotate`)).json<Made>();
      chain.push(held.id);
    }
    const other = await create("not erin");
    await evictDurableObject(env.ADMIN_TOKENS.getByName("pool"));
    expect((await as(held.token, "GET", "/pool")).status).toBe(200);
    const answer = await admin<{ id: string; revoked: string[] }>("DELETE", `/admins/${stolen.id}`);
    expect(answer).toMatchObject({ id: stolen.id, revoked: [held.id] });
    for (const path of ["/pool", "/admins"]) expect((await as(held.token, "GET", path)).status).toBe(401);
    expect((await as(held.token, "POST", `/admins/${held.id}/rotate`)).status).toBe(401);
    for (const id of chain) expect((await row("admin_tokens", id))?.revoked_at_ms).toEqual(expect.any(Number));
    expect(await row("admin_tokens", held.id)).toMatchObject({ revoked_by: "admin" });
    expect((await as(other.token, "GET", "/pool")).status).toBe(200);

    // A token that was made later under the same name replaced nothing.
    const next = await create("erin");
    for (const id of chain) expect(await admin("DELETE", `/admins/${id}`)).toMatchObject({ revoked: [] });
    expect((await as(next.token, "GET", "/pool")).status).toBe(200);
    expect(await admin("DELETE", `/admins/${next.id}`)).toMatchObject({ revoked: [next.id] });
  });

  it("is rotated and revoked by its holder; tokens of others are rotated and revoked only by the bootstrap admin", async () => {
    const mallory = await create("mallory");
    const victim = await create("victim");
    for (const [method, path] of [
      ["POST", `/admins/${victim.id}/rotate`],
      ["DELETE", `/admins/${victim.id}`],
      // The refusal does not reveal whether such a token exists.
      ["POST", "/admins/0123456789abcdef/rotate"],
      ["DELETE", "/admins/0123456789abcdef"],
    ] as const) {
      const refused = await as(mallory.token, method, path);
      expect([refused.status, refused.headers.get("x-ligand-code")]).toEqual([403, "admins/bootstrap-required"]);
      expect(await refused.json()).toMatchObject({ error: { message: expect.stringContaining("ADMIN_TOKEN") } });
    }
    expect((await as(victim.token, "GET", "/pool")).status).toBe(200);
    expect(await row("admin_tokens", victim.id)).toMatchObject({ revoked_by: null });

    const fresh = await admin<Made>("POST", `/admins/${victim.id}/rotate`);
    expect(fresh).toMatchObject({ name: "victim", created_by: "admin" });
    const own = await (await as(mallory.token, "POST", `/admins/${mallory.id}/rotate`)).json<Made>();
    expect((await as(own.token, "DELETE", `/admins/${own.id}`)).status).toBe(200);
    expect((await as(own.token, "GET", "/pool")).status).toBe(401);
    expect(await row("admin_tokens", own.id)).toMatchObject({ revoked_by: "mallory" });
  });

  it.each<[name: unknown, status: number]>([
    ["Admin", 400],
    ["", 400],
    [" eve", 400],
    ["eve\u001b[2J", 400],
    ["x".repeat(101), 400],
    [7, 400],
    ["frank", 409],
  ])("is not made for %j", async (name, status) => {
    const { id } = await create("frank");
    await admin("POST", "/admins", { name }, status);
    await admin("DELETE", `/admins/${id}`);
  });

  it("is neither a client key nor a worker token", async () => {
    const { token } = await create("grace");
    expect((await ask("/v1/models", { headers: { authorization: `Bearer ${token}` } })).status).toBe(401);
    const socket = { upgrade: "websocket", authorization: `Bearer ${token}` };
    expect((await ask("/v1/workers/connect", { headers: socket })).status).toBe(401);
  });
});
