import { applyD1Migrations, reset, runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type * as z from "zod";
import { openCheckpoint, openEvent } from "../../schema/crypto/signed-event.ts";
import { eventsPage, verifyPage } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { admin, appendTo, ask, eventually, invite, ScriptedAgent } from "./support.ts";

/** `/admin/api/events`, and the events that the pool itself writes. */

const log = () => env.EVENT_LOG.getByName("pool");
beforeEach(async () => {
  await reset();
  await applyD1Migrations(env.DB, env.TEST_MIGRATIONS);
});
afterEach(() => vi.useRealTimers());

const get = async <T>(path: string, shape: z.ZodType<T>) => shape.parse(await admin("GET", `/events${path}`));
/** Type, visibility and payload of every event of an audience. */
async function eventsOf(query = "") {
  const { events } = await get(query, eventsPage);
  const opened = await Promise.all(events.map(({ event }) => openEvent(event)));
  return opened.map((each) => (each.ok ? [each.event.type, each.event.visibility, each.event.payload] : each.code));
}
const write = (n: number) =>
  appendTo(
    log(),
    Array.from(
      { length: n },
      (_, i) => ({ type: "overview", visibility: i % 2 ? "peers" : "public", payload: { i } }) as const,
    ),
  );

describe("the list", () => {
  it("returns the newest page, or the page after a number", async () => {
    await write(60);
    const newest = await get("", eventsPage);
    expect(newest.events.map(({ seq }) => seq)).toEqual(Array.from({ length: 50 }, (_, i) => i + 11));
    expect(newest).toMatchObject({ next: 60, head: 60 });
    expect(await openCheckpoint(newest.checkpoint)).toMatchObject({
      ok: true,
      checkpoint: { audience: "all", seq: 60 },
    });
    const page = await get("?audience=peers&since=2&limit=3", eventsPage);
    expect(page.events.map(({ seq }) => seq)).toEqual([3, 4, 5]);
    expect(page).toMatchObject({ next: 5, head: 30 });
    expect(await get("?since=60", eventsPage)).toMatchObject({ events: [], next: 60 });
  });

  it.each(["?limit=0", "?limit=501", "?since=-1", "?since=x", "?audience=direct", "?other=1"])(
    "refuses %s",
    async (query) => {
      await admin("GET", `/events${query}`, undefined, 400);
      await admin("GET", `/events/stream${query}`, undefined, 400);
    },
  );

  it("is for admins only, and so are the stream and the record", async () => {
    for (const path of ["", "/stream", "/verify"]) expect((await ask(`/admin/api/events${path}`)).status).toBe(401);
  });
});

describe("the stream", () => {
  const follow = (query: string, headers = {}) =>
    ask(`/admin/api/events/stream${query}`, { headers: { authorization: `Bearer ${env.ADMIN_TOKEN}`, ...headers } });

  /** Reads until so many events have arrived. */
  async function ids(response: Response, n: number) {
    const reader = (response.body ?? new ReadableStream()).pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while ((text.match(/^id: /gm) ?? []).length < n || !text.endsWith("\n\n"))
      text += (await reader.read()).value ?? "";
    await reader.cancel();
    return [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
  }

  it("continues after a number, without gap or repeat, into new events", async () => {
    await write(3);
    const response = await follow("?since=1");
    expect(response.headers.get("content-type")).toContain("text/event-stream");
    const reading = ids(response, 4);
    await write(2);
    expect(await reading).toEqual([2, 3, 4, 5]);
  });

  it("starts with new events where no number is given, and after the last id of a browser", async () => {
    await write(3);
    const response = await follow("?audience=peers");
    const reading = ids(response, 1);
    await log().changed("peers", 0, 0);
    await write(2);
    expect(await reading).toEqual([2]);
    expect(await ids(await follow("", { "last-event-id": "4" }), 1)).toEqual([5]);
  });
});

describe("the record", () => {
  it("is returned in pages, with the log's checkpoints", async () => {
    await write(LIMITS.eventsPerPull + 1);
    const first = await get("/verify", verifyPage);
    expect(first.events).toHaveLength(LIMITS.eventsPerPull);
    expect(first.checkpoints).toHaveLength(3);
    const second = await get(`/verify?since=${first.next}`, verifyPage);
    expect(second.events.map(({ seq }) => seq)).toEqual([LIMITS.eventsPerPull + 1]);
    expect(await get(`/verify?since=${second.next}`, verifyPage)).toMatchObject({ events: [], next: second.next });
  });

  it("contains the kept checkpoints of its numbers", async () => {
    for (let i = 0; i < LIMITS.checkpointEvents; i += 250) await write(250);
    await eventually(async () => {
      const { kept } = await get(`/verify?since=${LIMITS.checkpointEvents - 1}`, verifyPage);
      const opened = await Promise.all(kept.map(openCheckpoint));
      return opened.some((each) => each.ok && each.checkpoint.seq === LIMITS.checkpointEvents);
    });
  });
});

it.each(["", " ", "Al\u001bder", "x".repeat(101), 7])("refuses the pool name %j", async (name) => {
  const { error } = await admin<{ error: { param: string } }>("PATCH", "/pool", { name }, 400);
  expect(error.param).toBe("name");
});

describe("the pool logs", () => {
  it("which settings an admin changed, as private events", async () => {
    await admin("PATCH", "/pool", { name: "Somebody's pool", defaults: { streams: 3 } }, 200);
    expect(await eventsOf()).toEqual([
      ["policy_changed", "private", { by: "admin", settings: ["defaults", "name"], defaults: { streams: 3 } }],
    ]);
    const alice = await admin<{ id: string; token: string }>("POST", "/admins", { name: "alice" });
    const headers = { authorization: `Bearer ${alice.token}` };
    await ask("/admin/api/pool", { method: "PATCH", headers, body: JSON.stringify({ description: "Hers" }) });
    // By token id: a person's name may have to be erased, and the log is append-only.
    expect((await eventsOf())[2]).toEqual(["policy_changed", "private", { by: alice.id, settings: ["description"] }]);
    expect(await log().heads()).toMatchObject({ all: 3, public: 0, peers: 0 });
  });

  it("that a worker joined and left, for bonded peers, at most once a minute", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const { token } = await invite();
    const agent = await ScriptedAgent.serving(token, { model: "m" });
    const joined = ["worker_joined", "peers", { worker: agent.workerId, models: ["m"] }];
    await eventually(async () => (await eventsOf("?audience=peers")).length === 1);
    expect(await eventsOf()).toEqual([joined]);
    agent.close();
    await agent.closed;
    const again = await ScriptedAgent.serving(token, { model: "m", signer: agent.signer });
    again.close();
    await again.closed;
    expect(await eventsOf()).toEqual([joined]);
    vi.setSystemTime(Date.now() + LIMITS.presenceMs);
    await runDurableObjectAlarm(env.LANE.getByName("main"));
    await eventually(async () => (await eventsOf()).length === 2);
    expect(await eventsOf()).toEqual([joined, ["worker_left", "peers", { worker: agent.workerId }]]);
  });
});
