import { createExecutionContext } from "cloudflare:test";
import { Hono } from "hono";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { ClientEnv } from "../../edge/http/app-env.ts";
import { readJson } from "../../edge/http/body.ts";
import { clientBody } from "../../edge/inference/client-body.ts";
import { completionApi } from "../../schema/wire/client-api.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

/**
 * Tests the reader itself and not through the pool, in a separate file: timers of objects must not fire in a test's
 * context.
 */
afterEach(() => vi.useRealTimers());

describe("a client that sends half a body", () => {
  it.each<[what: string, headers: Record<string, string>, letGo: boolean]>([
    ["with a Content-Length", { "content-length": "1000" }, false],
    // Sent in chunks: the rest is not read after the answer.
    ["without a Content-Length", {}, true],
  ])("%s, is awaited for a minute", async (_what, headers, letGo) => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const cancel = vi.fn();
    const body = new ReadableStream({
      start: (half) => half.enqueue(new TextEncoder().encode('{"model":')),
      cancel,
    });
    const reading = readJson(new Request("https://pool.example", { method: "POST", headers, body }), 1_000);
    await vi.advanceTimersByTimeAsync(LIMITS.bodyReadMs - 1);
    expect(await Promise.race([reading, Promise.resolve("still read")])).toBe("still read");
    await vi.advanceTimersByTimeAsync(1);
    expect(await reading).toEqual({ ok: false, code: "http/body-timeout" });
    expect(cancel).toHaveBeenCalledTimes(letGo ? 1 : 0);
  });

  it("pays for one request", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const charge = vi.fn(async () => ({ ok: true, next: null }));
    const app = new Hono<ClientEnv>().post("/", async (c) => {
      c.set("client", { keyId: "slow", secretSha256: "of-slow" });
      const body = await clientBody(c, completionApi);
      return body instanceof Response ? body : c.json(body);
    });
    const half = new ReadableStream({ start: (sent) => sent.enqueue(new TextEncoder().encode('{"model":')) });
    const request = new Request("https://pool.example/", { method: "POST", body: half });
    const asking = app.fetch(request, { ACCOUNT: { getByName: () => ({ charge }) } }, createExecutionContext());
    await vi.advanceTimersByTimeAsync(LIMITS.bodyReadMs);
    expect((await asking).status).toBe(408);
    expect(charge.mock.calls).toEqual([["of-slow"]]);
  });
});
