import { abortAllDurableObjects, applyD1Migrations, evictDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { openEvent } from "../../schema/crypto/signed-event.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { admin, type ClientKey, chat, createKey, eventually, invite, ScriptedAgent } from "./support.ts";

/** docs/spec/inference.md#circuits: circuits, qualities and bans of workers, with real sockets. */

beforeAll(() => applyD1Migrations(env.DB, env.TEST_MIGRATIONS));

const lane = () => env.LANE.getByName("main");

interface Circuits {
  circuits: { worker_id: string; model: string; state: string; failures: number; quality: number }[];
  bans: { worker_id: string; note: string | null }[];
}
const circuits = () => admin<Circuits>("GET", "/workers/circuits");

/** Reads the body too: the lane stays busy until then. */
async function statusOf(answering: Promise<Response>): Promise<number> {
  const answer = await answering;
  await answer.text();
  return answer.status;
}

async function audited(type: string): Promise<Record<string, unknown>[]> {
  const { events } = await env.EVENT_LOG.getByName("pool").read("all", 0, 500);
  const opened = await Promise.all(events.map(({ event }) => openEvent(event)));
  return opened.flatMap((each) => (each.ok && each.event.type === type ? [each.event.payload] : []));
}

/** Four workers of one model: one key may open the circuit of one of them. */
async function fleet(model: string): Promise<ScriptedAgent[]> {
  const tokens = await Promise.all(Array.from({ length: 4 }, () => invite()));
  return Promise.all(tokens.map(({ token }) => ScriptedAgent.serving(token, { model, slots: 1 })));
}

/** One job for each agent, at the same time: otherwise a better worker would get the jobs of the bad one, which fails. */
async function round(model: string, key: ClientKey, agents: ScriptedAgent[], bad: ScriptedAgent): Promise<void> {
  const asking = agents.map(() => chat(key, { model }));
  const jobs = await Promise.all(agents.map(async (agent) => ({ agent, job: await agent.next("job") })));
  for (const { agent, job } of jobs) {
    const { jobId, lease } = job;
    const failure = { code: "inference/engine-failed", message: "out of memory", retryable: false };
    if (agent === bad) agent.send({ type: "failed", jobId, lease, ...failure });
    else await agent.done(job, "fine");
    agent.ready(1, model);
  }
  for (const answer of await Promise.all(asking)) await answer.text();
}

describe("a ban", () => {
  it("keeps jobs from a connected worker until a pardon, survives a restart, and is on record without its note", async () => {
    const key = await createKey();
    const model = "ban-model";
    const agent = await ScriptedAgent.serving((await invite()).token, { model, slots: 1 });
    const banned = () => admin("POST", `/workers/${agent.workerId}/ban`, { note: "asked by phone" }, 200);
    await banned();
    await banned();
    expect(await statusOf(chat(key, { model }))).toBe(503);
    expect((await circuits()).bans).toMatchObject([{ worker_id: agent.workerId, note: "asked by phone" }]);
    const { workers } = await admin<{ workers: { worker_id: string; banned: boolean }[] }>("GET", "/workers");
    expect(workers).toMatchObject([{ worker_id: agent.workerId, banned: true }]);
    await evictDurableObject(lane());
    expect(await statusOf(chat(key, { model }))).toBe(503);
    const events = await eventually(async () => {
      const found = await audited("worker_banned");
      return found.length > 0 && found;
    });
    expect(events).toHaveLength(1);
    expect(JSON.stringify(events)).not.toContain("phone");
    expect(await admin("POST", `/workers/${agent.workerId}/pardon`, {}, 200)).toMatchObject({ pardoned: true });
    expect(await admin("POST", `/workers/${agent.workerId}/pardon`, {}, 200)).toMatchObject({ pardoned: false });
    const asking = chat(key, { model });
    await agent.done(await agent.next("job"), "back");
    expect(await statusOf(asking)).toBe(200);
    const row = await eventually(async () => {
      const { results } = await env.DB.prepare("SELECT * FROM worker_bans").all();
      return results[0]?.pardoned_at_ms !== null && results[0];
    });
    expect(row).toMatchObject({ worker_id: agent.workerId, note: null, note_salt: null });
    agent.close();
  });

  it("may be of a worker that has never connected, and of nothing that is no worker's id", async () => {
    const stranger = "cd".repeat(32);
    await admin("POST", `/workers/${stranger}/ban`, {}, 200);
    expect((await circuits()).bans.map(({ worker_id }) => worker_id)).toContain(stranger);
    await admin("POST", `/workers/${stranger}/pardon`, {}, 200);
    await admin("POST", "/workers/w1/ban", {}, 404);
  });
});

describe("a circuit", () => {
  it("opens after five failures, is an event, survives a crash, and is reset once for each request", async () => {
    const key = await createKey({ requests_per_minute: 1_000 });
    const model = "circuit-model";
    const agents = await fleet(model);
    const [bad] = agents as [ScriptedAgent];
    const isOpen = async () => {
      const found = (await circuits()).circuits.find(({ worker_id }) => worker_id === bad.workerId);
      return found?.state === "open" && found;
    };
    for (let failures = 0; failures < LIMITS.workerCircuitFailures; failures++) {
      expect(await isOpen()).toBe(false);
      await round(model, key, agents, bad);
    }
    expect(await isOpen()).toMatchObject({ worker_id: bad.workerId, model });
    await eventually(async () => (await audited("circuit_opened")).some(({ worker }) => worker === bad.workerId));

    await abortAllDurableObjects();
    expect(await isOpen()).toBeTruthy();

    const cause = { peer: "ab".repeat(32), requestId: "req_1" };
    const [first, second] = await Promise.all([lane().resetCircuits(null, cause), lane().resetCircuits(null, cause)]);
    expect([first, second]).toEqual([
      { circuits: 1, scores: 1 },
      { circuits: 1, scores: 1 },
    ]);
    expect((await circuits()).circuits).toEqual([]);
    await abortAllDurableObjects();
    expect(await lane().resetCircuits(null, cause)).toEqual({ circuits: 1, scores: 1 });
    const resets = await eventually(async () => {
      const found = await audited("circuits_reset");
      return found.length > 0 && found;
    });
    expect(resets).toEqual([
      { worker: null, by: null, request: { peer: cause.peer, request_id: "req_1" }, circuits: 1, scores: 1 },
    ]);
    await eventually(async () => (await audited("circuit_closed")).some(({ worker }) => worker === bad.workerId));
    // An admin's own reset may be repeated.
    expect(await admin("POST", "/workers/circuits/reset", {}, 200)).toEqual({
      worker_id: null,
      circuits: 0,
      scores: 0,
    });
  });
});
