import { createExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { createKey } from "./support.ts";

const PAGE = "https://page.example";

async function ask(origins: string | undefined, init: RequestInit, path = "/v1/models"): Promise<Response> {
  const app = (await import("../../edge/index.ts")).default;
  const request = new Request(`https://pool.example${path}`, init);
  const bindings = { ...env, ...(origins !== undefined && { CORS_ORIGINS: origins }) };
  return app.fetch(request, bindings, createExecutionContext());
}

const preflight = (origin: string): RequestInit => ({
  method: "OPTIONS",
  headers: {
    origin,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
  },
});

describe("a page of another origin", () => {
  it.each<[what: string, origins: string | undefined, origin: string, want: string | null]>([
    ["may not by default", undefined, PAGE, null],
    ["may not if the operator named no origin", "", PAGE, null],
    ["may if it is named", `https://other.example, ${PAGE}`, PAGE, PAGE],
    ["may not if another origin is named", "https://other.example", PAGE, null],
    ["may not if its origin only begins like a named one", PAGE, `${PAGE}.evil.example`, null],
    ["may if all origins may", "*", PAGE, "*"],
  ])("%s", async (_what, origins, origin, want) => {
    const asked = await ask(origins, preflight(origin));
    expect(asked.headers.get("access-control-allow-origin")).toBe(want);
    const refused = await ask(origins, { headers: { origin } });
    expect(refused.status).toBe(401);
    expect(refused.headers.get("access-control-allow-origin")).toBe(want);
    for (const { headers } of [asked, refused]) expect(headers.has("access-control-allow-credentials")).toBe(false);
  });

  it("learns from the preflight what it may send, without a key", async () => {
    const { status, headers } = await ask(PAGE, preflight(PAGE), "/v1/chat/completions");
    expect(status).toBe(204);
    expect(headers.get("access-control-allow-methods")).toBe("GET,POST");
    expect(headers.get("access-control-allow-headers")).toBe("authorization,content-type,x-stainless-os");
    expect(headers.get("access-control-max-age")).toBe("600");
    expect(headers.get("vary")).toContain("Origin");
  });

  it("may read the headers that a client needs, on refusals too", async () => {
    const key = await createKey();
    const headers = { origin: PAGE, authorization: `Bearer ${key.key}` };
    const body = JSON.stringify({ model: "nobody-has-this", messages: [{ role: "user", content: "hi" }] });
    const response = await ask(PAGE, { method: "POST", headers, body }, "/v1/chat/completions");
    expect(response.status).toBe(404);
    expect(response.headers.get("access-control-allow-origin")).toBe(PAGE);
    const exposed = response.headers.get("access-control-expose-headers")?.split(",") ?? [];
    for (const name of response.headers.keys()) {
      if (/^(x-request-id|x-ratelimit-.*|x-ligand-.*|retry-after)$/.test(name)) expect(exposed).toContain(name);
    }
    expect(exposed).toEqual(expect.arrayContaining(["x-request-id", "retry-after", "x-ligand-worker"]));
  });

  it("cannot call the operator's API", async () => {
    const response = await ask("*", preflight(PAGE), "/admin/api/keys");
    expect(response.headers.has("access-control-allow-origin")).toBe(false);
  });
});
