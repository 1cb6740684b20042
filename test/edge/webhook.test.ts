import { abortAllDurableObjects, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { EventLog } from "../../edge/events/event-log-object.ts";
import { backoffMs } from "../../edge/limits/backoff-rules.ts";
import { webhookForBonds } from "../../edge/webhook/webhook-for.ts";
import { requestWaits } from "../../edge/webhook/webhook-messages.ts";
import { Webhook } from "../../edge/webhook/webhook-object.ts";
import { WebhookOutbox } from "../../edge/webhook/webhook-outbox.ts";
import { openEvent } from "../../schema/crypto/signed-event.ts";
import { signWebhook, webhookKey } from "../../schema/crypto/webhook-signature.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { WebhookStatus } from "../../schema/wire/webhook.ts";
import { freshPool, setPolicy } from "./peer-double.ts";
import { admin, ask, eventually } from "./support.ts";

/** docs/spec/webhook.md: what the operator's webhook gets, when, and what becomes of a message. */

const URL = "https://hooks.example/in?token=t0ken";
const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const HOUR = 60 * 60_000;

interface Received {
  url: string;
  headers: Headers;
  body: Uint8Array;
  redirect: string;
}
let received: Received[] = [];
let answer: (call: Received, signal: AbortSignal) => Response | Promise<Response>;

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  // The runtime runs alarms by its own clock. While that is behind, only this test runs them.
  pass(HOUR);
  await freshPool();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  received = [];
  answer = () => new Response(null, { status: 204 });
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const request = new Request(input, init);
    const body = new Uint8Array(await request.clone().arrayBuffer());
    const call = { url: request.url, headers: request.headers, body, redirect: request.redirect };
    received.push(call);
    return answer(call, request.signal);
  });
});

const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);
const object = () => env.WEBHOOK.getByName("pool");
const alarmMs = () => runInDurableObject(object(), (_webhook, { storage }) => storage.getAlarm());
const set = (body: object = { url: URL, secret: SECRET }) =>
  admin<{ url: string; secret?: string }>("PUT", "/webhook", body, 200);
const status = async () => (await admin<WebhookStatus>("GET", "/webhook")).webhook;
const refusal = async (method: string, path: string, body?: object) => {
  const response = await ask(`/admin/api/webhook${path}`, {
    method,
    headers: { authorization: `Bearer ${env.ADMIN_TOKEN}` },
    ...(body && { body: JSON.stringify(body) }),
  });
  return [response.status, response.headers.get("x-ligand-code")];
};
const request = (n: number) =>
  ({
    peer: "a".repeat(64),
    requestId: `ask-${n}`,
    action: "query_events",
    status: "pending",
    receivedAtMs: Date.now(),
    expiresAtMs: Date.now() + HOUR,
  }) as const;
const message = (n: number) => requestWaits(request(n));
const messages = (...numbers: number[]) => Promise.all(numbers.map(message));
const notify = async (...numbers: number[]) => webhookForBonds(env).notify(await messages(...numbers));
const parsed = ({ body }: Received) => JSON.parse(new TextDecoder().decode(body));
const requests = () => received.map((call) => parsed(call).data.request_id);
const whenReceived = (n: number) => eventually(async () => received.length === n);
const whenWaiting = (n: number) => eventually(async () => (await status())?.waiting === n);
/** The private events of the webhook in our log. */
async function logged() {
  const { events } = await env.EVENT_LOG.getByName("pool").read("all", 0, 500);
  const opened = await Promise.all(events.map(({ event }) => openEvent(event)));
  return opened.flatMap((each) => (each.ok && each.event.type.startsWith("webhook_") ? [each.event] : []));
}
const tryAgain = async (afterMs: number) => {
  pass(afterMs);
  expect(await runDurableObjectAlarm(object())).toBe(true);
};

describe("an admin", () => {
  it("sets a webhook, and the pool makes a secret that it shows once", async () => {
    const made = await set({ url: URL });
    expect(webhookKey(made.secret ?? "")).toHaveLength(32);
    const read = await ask("/admin/api/webhook", { headers: { authorization: `Bearer ${env.ADMIN_TOKEN}` } });
    const text = await read.text();
    expect(JSON.parse(text)).toEqual({
      webhook: { url: URL, set_by: "admin", set_at: new Date().toISOString(), waiting: 0, last: null },
    });
    expect(text).not.toContain(made.secret);
    expect((await set({ url: URL })).secret).not.toBe(made.secret);
  });

  it("sets a secret of their own, which no answer contains", async () => {
    expect(await set()).toEqual({ url: URL });
    expect(JSON.stringify(await status())).not.toContain("whsec_");
  });

  it("leaves a private event of each change, without the URL and the secret", async () => {
    await set();
    await admin("DELETE", "/webhook", undefined, 200);
    const events = await eventually(async () => {
      const found = await logged();
      return found.length === 2 && found;
    });
    expect(events).toMatchObject([
      { type: "webhook_changed", visibility: "private", payload: { is_set: true } },
      { type: "webhook_changed", visibility: "private", payload: { is_set: false } },
    ]);
    expect(JSON.stringify(events)).not.toMatch(/hooks\.example|whsec_/);
  });

  it.each<[what: string, body: object, code: string]>([
    ["plain http", { url: "http://hooks.example/" }, "webhook/private-address"],
    ["a private address", { url: "https://10.0.0.1/" }, "webhook/private-address"],
    ["credentials", { url: "https://user:secret@hooks.example/" }, "http/invalid-body"],
    ["a fragment", { url: "https://hooks.example/#a" }, "http/invalid-body"],
    ["a short secret", { url: URL, secret: "whsec_aaaa" }, "http/invalid-body"],
    ["an unknown member", { url: URL, events: [] }, "http/unknown-parameter"],
    ["no URL", {}, "http/invalid-body"],
  ])("cannot set one with %s", async (_, body, code) => {
    expect(await refusal("PUT", "", body)).toEqual([400, code]);
    expect(await status()).toBeNull();
  });

  it("cannot test or remove a webhook that is not set", async () => {
    expect(await refusal("POST", "/test")).toEqual([404, "webhook/not-set"]);
    expect(await refusal("DELETE", "")).toEqual([404, "webhook/not-set"]);
  });

  it("needs a token", async () => {
    expect((await ask("/admin/api/webhook")).status).toBe(401);
  });

  it("tests the webhook, and reads what it answered", async () => {
    await set();
    const tested = await admin<{ message_id: string }>("POST", "/webhook/test", undefined, 200);
    expect(tested).toEqual({ message_id: expect.stringMatching(/^test_/), status: 204 });
    expect(received.map((call) => parsed(call).type)).toEqual(["webhook.test"]);
    expect((await status())?.last).toMatchObject({ message_id: tested.message_id, delivered: true, status: 204 });
    answer = () => new Response("<h1>internal</h1>", { status: 500 });
    expect(await refusal("POST", "/test")).toEqual([502, "webhook/failed"]);
    expect((await status())?.last).toMatchObject({ delivered: false, status: 500, failure: null });
    answer = () => Promise.reject(new Error("Network connection lost."));
    expect(await refusal("POST", "/test")).toEqual([502, "webhook/failed"]);
    expect((await status())?.last).toMatchObject({ delivered: false, status: null, failure: "no-connection" });
    // A test is not repeated.
    expect((await status())?.waiting).toBe(0);
  });

  it("uses a private address only while the policy allows it, which is checked at each try", async () => {
    await setPolicy({ allow_private_webhook: true });
    await set({ url: "http://127.0.0.1:9/" });
    await admin("POST", "/webhook/test", undefined, 200);
    await setPolicy({ allow_private_webhook: false });
    expect(await refusal("POST", "/test")).toEqual([400, "webhook/private-address"]);
    await notify(1);
    await eventually(async () => (await status())?.last?.failure === "private-address");
    expect(received).toHaveLength(1);
    expect((await status())?.waiting).toBe(1);
  });
});

describe("a message", () => {
  it("is sent as Standard Webhooks says: the signature covers the id, the time of the try and the bytes", async () => {
    await set();
    await notify(1);
    await whenReceived(1);
    const [{ url, headers, body, redirect }] = received as [Received];
    const { id, payload } = await message(1);
    expect({ url, redirect }).toEqual({ url: URL, redirect: "manual" });
    expect(parsed({ body } as Received)).toEqual(payload);
    const seconds = Math.floor(Date.now() / 1_000);
    expect(Object.fromEntries(headers)).toMatchObject({
      "content-type": "application/json",
      "user-agent": "ligand-pool",
      "webhook-id": id,
      "webhook-timestamp": String(seconds),
      "webhook-signature": await signWebhook(webhookKey(SECRET) ?? new Uint8Array(), id, seconds, body),
    });
    await whenWaiting(0);
    expect((await status())?.last).toMatchObject({ message_id: id, delivered: true, status: 204, failure: null });
  });

  it("is sent while federation is off", async () => {
    await setPolicy({ federation: "off" });
    await set();
    await notify(1);
    await whenReceived(1);
  });

  it("is sent once, however often it is repeated", async () => {
    await set();
    await notify(1, 1, 2);
    await whenWaiting(0);
    await notify(1, 2);
    await evictDurableObject(object());
    await notify(2, 1, 3);
    await whenWaiting(0);
    expect(requests()).toEqual(["ask-1", "ask-2", "ask-3"]);
  });

  it("is not kept while no webhook is set", async () => {
    await notify(1);
    await set();
    await notify(2);
    await whenWaiting(0);
    expect(requests()).toEqual(["ask-2"]);
  });

  it("that fails is tried ten times with the same id and bytes, by alarms that survive an eviction, and is then given up in the log", async () => {
    answer = () => new Response("down", { status: 500 });
    await set();
    await notify(1);
    for (let tried = 1; tried < LIMITS.webhookTries; tried++) {
      await whenReceived(tried);
      const dueMs = await eventually(() =>
        runInDurableObject(object(), (_webhook, { storage }) => {
          const query = "SELECT next_at_ms FROM messages WHERE tries = ?";
          return [...storage.sql.exec<{ next_at_ms: number }>(query, tried)][0]?.next_at_ms;
        }),
      );
      expect(dueMs - Date.now()).toBe(backoffMs(tried, 0.5));
      await eventually(async () => (await alarmMs()) !== null);
      await evictDurableObject(object());
      expect(await alarmMs()).toBeLessThanOrEqual(dueMs);
      await tryAgain(dueMs - Date.now());
    }
    await whenWaiting(0);
    expect(received).toHaveLength(LIMITS.webhookTries);
    const ids = received.map(({ headers }) => headers.get("webhook-id"));
    expect(new Set(ids).size).toBe(1);
    expect(new Set(received.map(({ body }) => String(body))).size).toBe(1);
    // The time is that of the try, so a receiver that refuses old messages takes a late try.
    expect(new Set(received.map(({ headers }) => headers.get("webhook-timestamp"))).size).toBe(LIMITS.webhookTries);
    const given_up = await eventually(async () => (await logged())[1]);
    expect(given_up).toMatchObject({ type: "webhook_given_up", payload: { message_id: ids[0], reason: "tries" } });
  });

  it("that the receiver never wants is given up, and others are sent", async () => {
    answer = (call) => new Response(null, { status: requests().at(-1) === "ask-1" && call ? 410 : 200 });
    await set();
    await notify(1, 2);
    await whenWaiting(0);
    expect(requests()).toEqual(["ask-1", "ask-2"]);
    const given_up = await eventually(async () => (await logged())[1]);
    expect(given_up).toMatchObject({ payload: { reason: "gone" } });
  });

  it("that fails does not block the next one", async () => {
    answer = (call) => new Response(null, { status: parsed(call).data.request_id === "ask-1" ? 500 : 200 });
    await set();
    await notify(1, 2, 3);
    await whenWaiting(1);
    expect(requests()).toEqual(["ask-1", "ask-2", "ask-3"]);
    await notify(4);
    await whenReceived(4);
    expect(requests().at(-1)).toBe("ask-4");
  });

  it("waits as long as an overloaded receiver asks", async () => {
    answer = () => new Response(null, { status: 429, headers: { "retry-after": "600" } });
    await set();
    await notify(1);
    await whenReceived(1);
    await eventually(async () => (await status())?.last);
    answer = () => new Response();
    await tryAgain(600_000 - 1);
    expect(received).toHaveLength(1);
    await tryAgain(1);
    await whenWaiting(0);
    expect(received).toHaveLength(2);
  });

  it("gets another try if the receiver is silent until the time limit", async () => {
    const { setTimeout: later } = globalThis;
    vi.spyOn(globalThis, "setTimeout").mockImplementation(((work: () => void, ms?: number) =>
      later(work, ms === LIMITS.webhookCallMs ? 0 : ms)) as typeof setTimeout);
    answer = (_, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    await set();
    await notify(1);
    await eventually(async () => (await status())?.last);
    expect(await status()).toMatchObject({ waiting: 1, last: { delivered: false, status: null, failure: "silent" } });
    vi.mocked(setTimeout).mockRestore();
  });

  it("is not sent where a redirect leads", async () => {
    answer = () => new Response(null, { status: 307, headers: { location: "https://other.example/" } });
    await set();
    await notify(1);
    await eventually(async () => (await status())?.last);
    expect(received.map(({ url }) => url)).toEqual([URL]);
    expect((await status())?.last).toMatchObject({ delivered: false, status: 307 });
  });

  it("makes room for newer ones when too many wait, the oldest first, with an event", async () => {
    answer = () => new Response(null, { status: 500 });
    await set();
    await runInDurableObject(object(), (_webhook, { storage }) => {
      storage.transactionSync(() => {
        for (let n = 0; n < LIMITS.webhooksKept; n++) {
          const insert = "INSERT INTO messages (id, payload, tries, next_at_ms) VALUES (?, x'00', 1, ?)";
          storage.sql.exec(insert, `old-${n}`, Date.now() + 24 * HOUR);
        }
      });
    });
    await notify(1, 2);
    expect((await status())?.waiting).toBe(LIMITS.webhooksKept);
    const events = await eventually(async () => {
      const found = (await logged()).slice(1);
      return found.length === 2 && found;
    });
    expect(events.map(({ payload }) => payload)).toMatchObject([
      { message_id: "old-0", reason: "queue-full" },
      { message_id: "old-1", reason: "queue-full" },
    ]);
  });
});

describe("a request that waits", () => {
  const outbox = <T>(use: (outbox: WebhookOutbox) => T | Promise<T>) =>
    runInDurableObject(env.ADMIN_TOKENS.getByName("pool"), (_tokens, { storage }) =>
      use(new WebhookOutbox(storage, env)),
    );

  it("reaches the webhook once, also if its object dies before it hears of that", async () => {
    await set();
    await outbox((box) => box.put(request(1)));
    await outbox(async (box) => {
      expect(box.dueAtMs(Date.now())).not.toBeNull();
      // The webhook's object has the message, and the caller does not know it.
      await webhookForBonds(env).notify(await messages(1));
      box.put(request(2));
      expect(await box.flush()).toBe(true);
      expect(box.dueAtMs(Date.now())).toBeNull();
    });
    await whenWaiting(0);
    expect(requests()).toEqual(["ask-1", "ask-2"]);
  });

  it("waits while the webhook's object does not answer", async () => {
    await set();
    const away = vi.spyOn(Webhook.prototype, "notify").mockImplementation(() => {
      throw new Error("away");
    });
    await outbox(async (box) => {
      box.put(request(1));
      expect(await box.flush()).toBe(false);
      expect(box.dueAtMs(Date.now())).toBeGreaterThan(Date.now());
      away.mockRestore();
      expect(await box.flush()).toBe(true);
    });
    await whenReceived(1);
  });
});

describe("a change of the webhook", () => {
  it("brings what waits to the new URL immediately, signed with the new secret", async () => {
    answer = () => new Response(null, { status: 500 });
    await set();
    await notify(1);
    await eventually(async () => (await status())?.last);
    answer = () => new Response();
    const { secret = "" } = await set({ url: "https://new.example/" });
    await whenWaiting(0);
    const { url, headers, body } = received[1] as Received;
    expect(url).toBe("https://new.example/");
    const [id, seconds] = [headers.get("webhook-id") ?? "", Number(headers.get("webhook-timestamp"))];
    const signature = await signWebhook(webhookKey(secret) ?? new Uint8Array(), id, seconds, body);
    expect(headers.get("webhook-signature")).toBe(signature);
  });

  it("during a try does not count the old receiver's answer", async () => {
    let isChanged = false;
    answer = () => eventually(async () => isChanged && new Response());
    await set();
    await notify(1);
    await whenReceived(1);
    answer = () => new Response();
    await set({ url: "https://new.example/" });
    isChanged = true;
    await whenWaiting(0);
    expect(received.map(({ url }) => url)).toEqual([URL, "https://new.example/"]);
  });

  it("that removes it drops what waits", async () => {
    answer = () => new Response(null, { status: 500 });
    await set();
    await notify(1);
    await eventually(async () => (await status())?.last);
    expect(await admin("DELETE", "/webhook", undefined, 200)).toEqual({ removed: true });
    await set();
    expect(await status()).toMatchObject({ waiting: 0, last: null });
  });

  it("holds while the event log is unavailable, and its event follows", async () => {
    const append = vi.spyOn(EventLog.prototype, "append").mockRejectedValue(new Error("away"));
    await set();
    expect(await status()).toMatchObject({ url: URL });
    append.mockRestore();
    await tryAgain(LIMITS.outboxRetryMaxMs);
    await eventually(async () => (await logged()).length === 1);
  });
});

// Last, because the storage of aborted objects outlives the reset before the next test.
it("a message survives the death of the object during its try, and is sent again", async () => {
  answer = () => new Promise(() => {});
  await set();
  await notify(1);
  await whenReceived(1);
  answer = () => new Response();
  await abortAllDurableObjects();
  await tryAgain(LIMITS.outboxRetryMinMs);
  await whenWaiting(0);
  expect(requests()).toEqual(["ask-1", "ask-1"]);
});
