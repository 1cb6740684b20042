import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { RecordOutbox } from "../../edge/record/record-outbox.ts";
import type { WorkerTokenRow } from "../../schema/db/workers.ts";
import { CLOSE, LIMITS } from "../../schema/wire/limits.ts";
import { admin, chat, createKey, eventually, invite, ScriptedAgent } from "./support.ts";

/** What happens as time passes. The tests set the clock of this isolate, which the objects read. */
beforeEach(() => vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => vi.useRealTimers());

const lane = () => env.LANE.getByName("main");
/** Moves the wall clock. The lane's own ticks, ten a second, see it. */
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);

describe("a socket", () => {
  it("that sends no hello is closed after ten seconds", async () => {
    vi.useFakeTimers({ toFake: ["Date", "setTimeout", "clearTimeout"] });
    const agent = await ScriptedAgent.open((await invite()).token);
    await agent.next("challenge");
    // Timers of an object fire in its own context.
    await runInDurableObject(lane(), () => vi.advanceTimersByTimeAsync(LIMITS.helloMs - 1));
    const early = await Promise.race([agent.closed, Promise.resolve("still open")]);
    expect(early).toBe("still open");
    await runInDurableObject(lane(), () => vi.advanceTimersByTimeAsync(1));
    expect(await agent.closed).toEqual({ code: CLOSE.policyViolation, reason: "no hello in time" });
  });

  it("gets a nonce of its own, and refuses a proof for the nonce of another socket", async () => {
    const { token } = await invite();
    const first = await ScriptedAgent.open(token);
    const second = await ScriptedAgent.open(token, first.signer);
    const nonce = (await first.next("challenge")).nonce;
    await second.hello(token, { nonce });
    expect(await second.closed).toEqual({ code: CLOSE.policyViolation, reason: "bad signature" });
  });

  it("that is silent for thirty seconds is dead, and another worker gets its job", async () => {
    const key = await createKey();
    const silent = await ScriptedAgent.serving((await invite()).token, { model: "silent" });
    const asking = chat(key, { model: "silent" });
    await silent.next("job");
    pass(20_000);
    const heir = await ScriptedAgent.serving((await invite()).token, { model: "silent" });
    pass(LIMITS.deadAfterMs - 20_000 + 1);
    expect((await silent.closed).reason).toBe("silent for too long");
    await heir.done(await heir.next("job"), "taken over");
    expect((await asking).status).toBe(200);
    heir.close();
  });
});

describe("a job", () => {
  it("whose worker fails after eight seconds gives a whole answer an error status", async () => {
    const agent = await ScriptedAgent.serving((await invite()).token, { model: "fails-late" });
    const asking = chat(await createKey(), { model: "fails-late" });
    const { jobId, lease } = await agent.next("job");
    pass(8_000);
    agent.send({ type: "progress", jobId, lease });
    await lane().overview();
    const code = "inference/engine-failed";
    agent.send({ type: "failed", jobId, lease, code, message: "The engine failed.", retryable: false });
    const response = await asking;
    expect([response.status, await response.json()]).toMatchObject([502, { error: { code: "engine_error" } }]);
    agent.close();
  });

  it("that waits until its queue time is over gives a whole answer an error status", async () => {
    const agent = await ScriptedAgent.serving((await invite()).token, { model: "busy", free: 0 });
    const asking = chat(await createKey(), { model: "busy" });
    await eventually(
      async () => ((await lane().overview()).models.find((model) => model.name === "busy")?.queued ?? 0) === 1,
    );
    for (let waited = 0; waited < LIMITS.queueWaitMs; waited += 20_000) {
      pass(20_000);
      agent.ready(0, "busy");
      await lane().overview();
    }
    const response = await asking;
    expect([response.status, await response.json()]).toMatchObject([503, { error: { code: "queue_timeout" } }]);
    agent.close();
  });

  it("keeps the slot of its stream while it runs", async () => {
    const key = await createKey({ streams: 1 });
    const agent = await ScriptedAgent.serving((await invite()).token, { model: "long" });
    const asking = chat(key, { model: "long", stream: true });
    const job = await agent.next("job");
    agent.delta(job, 0, "x");
    const response = await asking;
    const reading = response.text();
    const account = env.ACCOUNT.getByName(key.id);
    for (let seq = 1; seq <= 3; seq++) {
      const before = Date.now();
      pass(25_000);
      agent.delta(job, seq, "x");
      // The account writes its slots to disk a second after the lane renewed them.
      await eventually(() =>
        runInDurableObject(account, (_account, state) => slotUntilMs(state) > before + LIMITS.streamSlotMs),
      );
    }
    expect((await chat(key, { model: "long", stream: true })).status, "more than its lease later").toBe(429);
    await agent.done(job, "x".repeat(4));
    await reading;
    agent.close();
  });
});

describe("the record", () => {
  it("is written by the alarm when D1 is back", async () => {
    const { id } = await invite({ label: "before" });
    await runInDurableObject(lane(), async (_lane, state) => {
      // A row that cannot be flushed, because D1 is away.
      const away = {
        prepare: () => ({ bind: () => ({}), run: () => Promise.reject(new Error("away")) }),
        batch: () => Promise.reject(new Error("away")),
      };
      const outbox = new RecordOutbox(state.storage, away as unknown as D1Database);
      const row = await env.DB.prepare("SELECT id FROM worker_tokens WHERE id = ?").bind(id).first();
      expect(row).toEqual({ id });
      outbox.put("worker_tokens", tokenRow("late-token"));
      expect(await outbox.flush()).toBe(false);
      expect(outbox.dueAtMs(Date.now())).toBe(Date.now() + LIMITS.outboxRetryMinMs);
      expect(outbox.pending()).toBe(1);
      await state.storage.setAlarm(Date.now() + LIMITS.outboxRetryMinMs);
    });
    expect(await runDurableObjectAlarm(lane())).toBe(true);
    expect(await inD1("late-token")).toBe(true);
  });

  it("of an account that was evicted before its flush is flushed when it wakes", async () => {
    const key = await createKey();
    const account = env.ACCOUNT.getByName(key.id);
    await runInDurableObject(account, (_account, state) =>
      new RecordOutbox(state.storage, env.DB).put("worker_tokens", tokenRow("left behind")),
    );
    await evictDurableObject(account);
    await account.lookUp("x");
    await eventually(() => inD1("left behind"));
  });

  it("continues after a row that D1 never takes, and keeps that row", async () => {
    await invite();
    await runInDurableObject(lane(), async (_lane, state) => {
      const outbox = new RecordOutbox(state.storage, env.DB);
      outbox.put("no_such_table" as "worker_tokens", {} as WorkerTokenRow);
      outbox.put("worker_tokens", { id: "half a row" } as WorkerTokenRow);
      outbox.put("worker_tokens", tokenRow("behind the bad ones"));
      expect(await outbox.flush()).toBe(true);
      expect(outbox.held()).toEqual({ waiting: 0, refused: 2 });
    });
    expect(await inD1("behind the bad ones")).toBe(true);
    expect(await inD1("half a row")).toBe(false);
    const { records } = await admin<{ records: unknown[] }>("GET", "/doctor");
    expect(records).toContainEqual({ of: "lane main", held: { waiting: 0, refused: 2 } });
    expect(records).toContainEqual({ of: "event log", held: { waiting: 0, refused: 0 } });
  });
});

describe("while D1 is away", () => {
  it("a worker's token can still be revoked", async () => {
    const { id, token } = await invite();
    const agent = await ScriptedAgent.serving(token);
    await env.DB.exec("ALTER TABLE worker_tokens RENAME TO worker_tokens_away");
    try {
      await admin("DELETE", `/workers/tokens/${id}`);
      expect(await agent.closed).toMatchObject({ code: CLOSE.tokenRefused });
    } finally {
      await env.DB.exec("ALTER TABLE worker_tokens_away RENAME TO worker_tokens");
    }
    // D1 gets the revocation when it is back.
    expect(await runDurableObjectAlarm(lane())).toBe(true);
    const row = await env.DB.prepare("SELECT revoked_by FROM worker_tokens WHERE id = ?").bind(id).first();
    expect(row).toEqual({ revoked_by: "admin" });
  });
});

function slotUntilMs(state: DurableObjectState): number {
  const traffic = state.storage.kv.get<{ slots: Record<string, number> }>("traffic");
  return Math.max(0, ...Object.values(traffic?.slots ?? {}));
}

async function inD1(id: string): Promise<boolean> {
  return (await env.DB.prepare("SELECT id FROM worker_tokens WHERE id = ?").bind(id).first()) !== null;
}

function tokenRow(id: string) {
  return {
    id,
    label: "",
    secretSha256: "00",
    lane: "main",
    addedBy: "admin",
    approvedBy: "admin",
    createdAtMs: 1,
    expiresAtMs: 2,
    workerId: null,
    revokedBy: null,
    revokedAtMs: null,
  };
}
