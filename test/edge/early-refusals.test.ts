import { afterEach, beforeEach, expect, it, onTestFinished, vi } from "vitest";
import { LIMITS } from "../../schema/wire/limits.ts";
import { admin, ask, type ClientKey, chat, createKey, invite, ScriptedAgent } from "./support.ts";

/** What a key is refused before it costs anything. The clock stands still, so that no bucket refills by itself. */
beforeEach(() => vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => vi.useRealTimers());

const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);
const headers = (key: ClientKey) => ({ authorization: `Bearer ${key.key}` });
const code = (response: Response) => response.headers.get("x-ligand-code");
/** Of a length that it keeps to itself, and never ends by itself. */
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

/** So many bytes, of a length that it keeps to itself. */
function pieces(bytes: number) {
  return new ReadableStream({
    start(half) {
      half.enqueue(new Uint8Array(bytes).fill(0x20));
      half.close();
    },
  });
}

it("a key over its limit is refused without its body being read, until its Retry-After has passed", async () => {
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
  ["is no JSON", () => "{", "http/invalid-json"],
  ["has another shape", () => "[]", "http/invalid-body"],
  ["has an unknown parameter", () => '{"model":"nobody","prompt":"a","x":1}', "http/unknown-parameter"],
  ["asks for what is not supported", () => '{"model":"nobody","prompt":"a","echo":true}', "http/unsupported-parameter"],
  ["has too many values", () => `[${"0,".repeat(LIMITS.bodyValues)}0]`, "http/body-too-large"],
  ["is too large", () => " ".repeat(LIMITS.clientBodyBytes + 1), "http/body-too-large"],
  ["is too large, without saying so", () => pieces(LIMITS.clientBodyBytes + 1), "http/body-too-large"],
])("a body that %s costs its key a request, and after the last one nothing is read", async (_what, body, want) => {
  const key = await createKey({ requests_per_minute: 2 });
  const complete = (sent: BodyInit) => ask("/v1/completions", { method: "POST", headers: headers(key), body: sent });
  for (let i = 0; i < 2; i++) expect(code(await complete(body()))).toBe(want);
  const early = await complete(endless().body);
  expect([early.status, code(early), early.headers.get("retry-after")]).toEqual([429, "inference/rate-limited", "30"]);
  expect(remaining(early)).toBe("0");
  pass(30_000);
  expect(code(await complete('{"model":"nobody","prompt":"a"}'))).toBe("inference/model-not-found");
});

it("schemas that cannot be enforced cost a request", async () => {
  const key = await createKey({ requests_per_minute: 1 });
  const tools = [{ type: "function", function: { name: "f", strict: true, parameters: { type: "nothing" } } }];
  expect((await chat(key, { tools })).status).toBe(400);
  expect((await chat(key, {}, { body: endless().body })).status).toBe(429);
});

it("a body that its key cannot pay for is refused for that, and the refusal remembered", async () => {
  const key = await createKey({ requests_per_minute: 1 });
  const halves = [endless(), endless()];
  const asked = halves.map(({ body }) => chat(key, {}, { body }));
  for (const half of halves) half.end();
  expect((await Promise.all(asked)).map(({ status }) => status).sort()).toEqual([400, 429]);
  expect((await chat(key, {}, { body: endless().body })).status).toBe(429);
});

it("of many bodies that a key completes together, few are checked before the key is found to be over its rate", async () => {
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

it("good requests that come together cost one request each, whether they are charged before their check or after", async () => {
  const count = 3 * LIMITS.keyUnpaidBodies;
  const key = await createKey({ requests_per_minute: count + 1 });
  const answers = await Promise.all(Array.from({ length: count }, () => chat(key, { model: "nobody" })));
  expect(new Set(answers.map(code))).toEqual(new Set(["inference/model-not-found"]));
  expect(code(await chat(key, { model: "nobody" }))).toBe("inference/model-not-found");
  expect((await chat(key, { model: "nobody" })).status).toBe(429);
});

it("a revoked key is refused by a bad body too, and then without a body for a second", async () => {
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

it("bodies that one key sends at once are bounded, while another key is heard", async () => {
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

it("models and cancellations have a limit of their own, and a list serves for a second", async () => {
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
