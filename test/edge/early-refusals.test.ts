import { afterEach, beforeEach, expect, it, onTestFinished, vi } from "vitest";
import { LIMITS } from "../../schema/wire/limits.ts";
import { admin, ask, type ClientKey, chat, createKey, invite, ScriptedAgent } from "./support.ts";

/** Refusals for which the pool reads no body. The clock stands still, so that no bucket refills. */
beforeEach(() => vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => vi.useRealTimers());

const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);
const headers = (key: ClientKey) => ({ authorization: `Bearer ${key.key}` });
const code = (response: Response) => response.headers.get("x-ligand-code");
/** A body of unknown length that never ends. */
function endless() {
  let end = () => {};
  const body = new ReadableStream({
    start: (half) => {
      half.enqueue(new TextEncoder().encode("{"));
      end = () => half.close();
    },
  });
  return { body, end: () => end() };
}

/** A body of that many bytes, without a Content-Length. */
function pieces(bytes: number) {
  return new ReadableStream({
    start(half) {
      half.enqueue(new Uint8Array(bytes).fill(0x20));
      half.close();
    },
  });
}

it("the pool does not read the body of a key that is over its limit, until its Retry-After has passed", async () => {
  const key = await createKey({ requests_per_minute: 1 });
  expect(code(await chat(key, { model: "nobody" }))).toBe("inference/model-not-found");
  const refused = await chat(key);
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "60"]);
  pass(20_000);
  const { body } = endless();
  const early = await chat(key, {}, { body });
  expect([early.status, code(early), early.headers.get("retry-after")]).toEqual([429, "inference/rate-limited", "40"]);
  expect(early.headers.get("x-ratelimit-remaining-requests")).toBe("0");
  expect(early.headers.get("x-ratelimit-reset-requests")).toBe("40.000s");
  pass(40_000);
  expect(code(await chat(key, { model: "nobody" }))).toBe("inference/model-not-found");
});

const remaining = (response: Response) => response.headers.get("x-ratelimit-remaining-requests");

it.each<[what: string, body: () => BodyInit, want: string]>([
  ["is not JSON", () => "{", "http/invalid-json"],
  ["has another shape", () => "[]", "http/invalid-body"],
  ["has an unknown parameter", () => '{"model":"nobody","prompt":"a","x":1}', "http/unknown-parameter"],
  ["asks for something unsupported", () => '{"model":"nobody","prompt":"a","echo":true}', "http/unsupported-parameter"],
  ["has too many values", () => `[${"0,".repeat(LIMITS.bodyValues)}0]`, "http/body-too-large"],
  ["is too large", () => " ".repeat(LIMITS.clientBodyBytes + 1), "http/body-too-large"],
  ["is too large, without a Content-Length", () => pieces(LIMITS.clientBodyBytes + 1), "http/body-too-large"],
])(
  "a body that %s costs its key a request; without requests left the pool does not read the body",
  async (_what, body, want) => {
    const key = await createKey({ requests_per_minute: 2 });
    const complete = (sent: BodyInit) => ask("/v1/completions", { method: "POST", headers: headers(key), body: sent });
    for (let i = 0; i < 2; i++) expect(code(await complete(body()))).toBe(want);
    const early = await complete(endless().body);
    expect([early.status, code(early), early.headers.get("retry-after")]).toEqual([
      429,
      "inference/rate-limited",
      "30",
    ]);
    expect(remaining(early)).toBe("0");
    pass(30_000);
    expect(code(await complete('{"model":"nobody","prompt":"a"}'))).toBe("inference/model-not-found");
  },
);

it("a schema that cannot be enforced costs a request", async () => {
  const key = await createKey({ requests_per_minute: 1 });
  const tools = [{ type: "function", function: { name: "f", strict: true, parameters: { type: "nothing" } } }];
  expect((await chat(key, { tools })).status).toBe(400);
  expect((await chat(key, {}, { body: endless().body })).status).toBe(429);
});

it("a body that its key cannot pay for is refused for the rate, and the refusal is remembered", async () => {
  const key = await createKey({ requests_per_minute: 1 });
  const halves = [endless(), endless()];
  const asked = halves.map(({ body }) => chat(key, {}, { body }));
  for (const half of halves) half.end();
  expect((await Promise.all(asked)).map(({ status }) => status).sort()).toEqual([400, 429]);
  expect((await chat(key, {}, { body: endless().body })).status).toBe(429);
});

it("when one key completes many bodies at once, only a few are checked before the key is refused for its rate", async () => {
  const perMinute = 4;
  const key = await createKey({ requests_per_minute: perMinute });
  const halves = Array.from({ length: 60 }, () => endless());
  const asked = halves.map(({ body }) => chat(key, {}, { body }));
  const parse = vi.spyOn(JSON, "parse");
  onTestFinished(() => parse.mockRestore());
  for (const half of halves) half.end();
  const statuses = (await Promise.all(asked)).map(({ status }) => status);
  expect(statuses.filter((status) => status === 400)).toHaveLength(perMinute);
  expect(statuses.filter((status) => status === 429)).toHaveLength(halves.length - perMinute);
  const checked = parse.mock.calls.filter(([text]) => text === "{");
  expect(checked.length).toBeGreaterThanOrEqual(perMinute);
  expect(checked.length).toBeLessThanOrEqual(LIMITS.keyUnpaidBodies + perMinute);
});

it("valid simultaneous requests cost one request each, whether they are charged before or after their check", async () => {
  const count = 3 * LIMITS.keyUnpaidBodies;
  const key = await createKey({ requests_per_minute: count + 1 });
  const answers = await Promise.all(Array.from({ length: count }, () => chat(key, { model: "nobody" })));
  expect(new Set(answers.map(code))).toEqual(new Set(["inference/model-not-found"]));
  expect(code(await chat(key, { model: "nobody" }))).toBe("inference/model-not-found");
  expect((await chat(key, { model: "nobody" })).status).toBe(429);
});

it("a revoked key with a bad body is refused as revoked, and then for a second without reading a body", async () => {
  const key = await createKey();
  expect(code(await chat(key, { model: "nobody" }))).toBe("inference/model-not-found");
  await admin("DELETE", `/keys/${key.id}`);
  for (const body of ["{", endless().body]) {
    const refused = await chat(key, {}, { body });
    expect([refused.status, code(refused), remaining(refused)]).toEqual([401, "auth/invalid-key", null]);
  }
  pass(1_000);
  expect(code(await chat(key))).toBe("auth/invalid-key");
});

it("the bytes that one key sends at once are bounded, while another key is served", async () => {
  const key = await createKey();
  const most = LIMITS.keyBodiesBytes / LIMITS.clientBodyBytes;
  const halves = Array.from({ length: most }, endless);
  const asked = halves.map(({ body }) => chat(key, {}, { body }));
  const more = await chat(key, {}, { body: endless().body });
  expect([more.status, code(more)]).toEqual([429, "inference/rate-limited"]);
  expect(code(await chat(await createKey(), { model: "nobody" }))).toBe("inference/model-not-found");
  for (const half of halves) half.end();
  for (const each of asked) expect(code(await each)).toBe("http/invalid-json");
  expect(code(await chat(key, { model: "nobody" }))).toBe("inference/model-not-found");
});

it("requests for models and cancellations have their own rate, and the list of models is cached for a second", async () => {
  const key = await createKey();
  await ScriptedAgent.serving((await invite()).token, { model: "first" });
  const list = () => ask("/v1/models", { headers: headers(key) });
  const names = async () => (await (await list()).json<{ data: { id: string }[] }>()).data.map(({ id }) => id);
  expect(await names()).toEqual(["first"]);
  await ScriptedAgent.serving((await invite()).token, { model: "second" });
  const lists = await Promise.all(Array.from({ length: LIMITS.keyLookupsPerMinute - 2 }, names));
  expect(new Set(lists.map(String))).toEqual(new Set(["first"]));
  const cancel = () => ask(`/v1/jobs/${crypto.randomUUID()}/cancel`, { method: "POST", headers: headers(key) });
  expect((await cancel()).status).toBe(404);
  for (const refused of [await cancel(), await list()]) {
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "1"]);
  }
  expect((await ask("/v1/models", { headers: headers(await createKey()) })).status).toBe(200);
  pass(LIMITS.statusCacheMs);
  expect(await names()).toEqual(["first", "second"]);
});
