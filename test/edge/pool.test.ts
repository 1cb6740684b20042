import { listDurableObjectIds } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { admin, ask, chat, createKey, invite, ScriptedAgent } from "./support.ts";

async function objects(): Promise<number> {
  const { ACCOUNT, ADMIN_TOKENS, LANE, POOL_POLICY } = env as unknown as Record<string, DurableObjectNamespace>;
  const spaces = [ACCOUNT, ADMIN_TOKENS, LANE, POOL_POLICY].flatMap((space) => space ?? []);
  return (await Promise.all(spaces.map((space) => listDurableObjectIds(space)))).flat().length;
}

describe("a caller without a credential", () => {
  it("starts no object with forged keys and tokens", async () => {
    await admin("GET", "/pool");
    const before = await objects();
    const hex = (n: number) =>
      [...crypto.getRandomValues(new Uint8Array(n))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    for (let i = 0; i < 200; i++) {
      const key = `lk_${hex(8)}_${hex(20)}_${hex(12)}`;
      expect((await chat({ id: "", key })).status).toBe(401);
      const response = await ask("/v1/workers/connect", {
        headers: { upgrade: "websocket", authorization: `Bearer lw_${hex(8)}_${hex(20)}_${hex(12)}_${hex(32)}` },
      });
      expect(response.status).toBe(401);
    }
    expect(await objects()).toBe(before);
  });

  it("with another pool's token gets this pool's id, so that a worker can detect a wrong URL", async () => {
    const { atom_id } = await admin<{ atom_id: string }>("GET", "/pool");
    const refused = await ask("/v1/workers/connect", { headers: { authorization: "Bearer lw_of_another" } });
    expect([refused.status, refused.headers.get("x-ligand-pool")]).toEqual([401, atom_id]);
  });

  it.each([
    ["GET", "/admin/api/pool"],
    ["GET", "/admin/api/keys"],
    ["POST", "/admin/api/keys"],
    ["POST", "/admin/api/workers/tokens"],
    ["GET", "/metrics"],
  ])("may not %s %s", async (method, path) => {
    for (const authorization of ["", "Bearer nonsense", `Basic ${env.ADMIN_TOKEN}`, `Bearer ${env.ADMIN_TOKEN}x`]) {
      const response = await ask(path, { method, headers: { authorization } });
      expect(response.status).toBe(401);
      expect(await response.text()).not.toContain(env.ADMIN_TOKEN);
    }
  });
});

describe("a client key", () => {
  it("is shown once, listed without its secret, and refused from the moment it is revoked", async () => {
    const key = await createKey({ label: "phone" });
    const list = await ask("/admin/api/keys", { headers: { authorization: `Bearer ${env.ADMIN_TOKEN}` } });
    const text = await list.text();
    expect(text).toContain(key.id);
    expect(text).not.toContain(key.key.split("_")[2]);
    expect((await chat(key, { model: "nobody-has-this" })).status).toBe(404);
    await admin("DELETE", `/keys/${key.id}`);
    expect((await chat(key, { model: "nobody-has-this" })).status).toBe(401);
    expect((await ask("/v1/models", { headers: { authorization: `Bearer ${key.key}` } })).status).toBe(401);
    await admin("DELETE", "/keys/0123456789abcdef", undefined, 404);
  });

  it("takes the pool's defaults, which the operator can change", async () => {
    await admin("PATCH", "/pool", { name: "Alder", defaults: { requests_per_minute: 7 } }, 200);
    const key = await createKey();
    expect(key).toMatchObject({ requests_per_minute: 7, streams: 8 });
    expect(await admin("GET", "/pool")).toMatchObject({
      name: "Alder",
      defaults: { requests_per_minute: 7, streams: 8 },
    });
  });

  it.each([
    [{ label: 1 }, "label"],
    [{ requests_per_minute: 0 }, "requests_per_minute"],
    [{ surprise: true }, "surprise"],
    [[], null],
  ])("is not made from %j", async (body, param) => {
    const { error } = await admin<{ error: { param: string; message: string } }>("POST", "/keys", body, 400);
    expect(error.param).toBe(param);
    // The error's message alone also says it.
    expect(error.message).toContain(param ?? "a JSON object");
  });
});

describe("every answer", () => {
  it("has a request id: the client's when harmless, ours otherwise", async () => {
    const echoed = await ask("/healthz", { headers: { "x-request-id": "req-1.2:3" } });
    expect(echoed.headers.get("x-request-id")).toBe("req-1.2:3");
    for (const given of ["has spaces", "x".repeat(200), "<script>"]) {
      const made = await ask("/healthz", { headers: { "x-request-id": given } });
      expect(made.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    }
  });

  it("for an unknown path is a coded error", async () => {
    const response = await ask("/nowhere");
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ error: { code: "not_found" } });
  });

  it.each<[method: string, path: string, allow: string]>([
    ["PUT", "/healthz", "GET, HEAD"],
    ["DELETE", "/v1/models/one", "GET, HEAD"],
    ["GET", "/v1/chat/completions", "POST"],
    ["PUT", "/admin/api/keys", "POST, GET, HEAD"],
    ["OPTIONS", "/docs", "GET, HEAD"],
  ])("to %s %s lists the methods of that path", async (method, path, allow) => {
    const token = path.startsWith("/admin") ? env.ADMIN_TOKEN : (await createKey()).key;
    const response = await ask(path, { method, headers: { authorization: `Bearer ${token}` } });
    expect(response.status).toBe(405);
    expect(response.headers.get("allow")).toBe(allow);
    expect(response.headers.get("x-ligand-code")).toBe("http/method-not-allowed");
    expect(await response.json()).toMatchObject({ error: { code: "method_not_allowed" } });
  });
});

describe("readiness and metrics", () => {
  it("list which models are served", async () => {
    expect(await (await ask("/healthz")).json()).toEqual({ ok: true });
    const agent = await ScriptedAgent.serving((await invite()).token, { model: "ready-model" });
    const ready = async () => {
      const response = await ask("/readyz");
      return { status: response.status, body: await response.json<{ ready: boolean; models: string[] }>() };
    };
    await expect.poll(async () => (await ready()).body.models, { timeout: 60_000 }).toContain("ready-model");
    expect(await ready()).toMatchObject({ status: 200, body: { ready: true, workers: 1 } });
    const metrics = await ask("/metrics", { headers: { authorization: `Bearer ${env.METRICS_TOKEN}` } });
    expect(await metrics.text()).toMatch(/^ligand_slots\{model_name="ready-model"\} 4$/m);
    agent.close();
    await expect.poll(async () => (await ready()).body.models, { timeout: 60_000 }).not.toContain("ready-model");
  });

  it("is not ready while the record cannot be read", async () => {
    const app = (await import("../../edge/index.ts")).default;
    const broken = { prepare: () => ({ all: () => Promise.reject(new Error("D1 is away")) }) };
    await expect
      .poll(async () => (await app.fetch(new Request("http://localhost/readyz"), { ...env, DB: broken })).status, {
        timeout: 60_000,
      })
      .toBe(503);
  });

  it("answers under the pool's names only", async () => {
    const app = (await import("../../edge/index.ts")).default;
    const asked = async (host: string) =>
      (await app.fetch(new Request(`http://${host}/healthz`), { ...env, ALLOWED_HOSTS: "127.0.0.1,localhost,[::1]" }))
        .status;
    expect(await asked("localhost:8787")).toBe(200);
    expect(await asked("[::1]:8787")).toBe(200);
    expect(await asked("rebound.example")).toBe(421);
  });
});
