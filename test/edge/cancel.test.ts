import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, it } from "vitest";
import { ask, type ClientKey, chat, createKey, events, eventually, invite, ScriptedAgent } from "./support.ts";

let key: ClientKey;
beforeEach(async () => {
  key = await createKey();
});

let models = 0;
async function serve(options: { free?: number } = {}) {
  const model = `cancel-${++models}`;
  return { model, agent: await ScriptedAgent.serving((await invite()).token, { ...options, model }) };
}
const cancel = (id: string, by = key) =>
  ask(`/v1/jobs/${id}/cancel`, { method: "POST", headers: { authorization: `Bearer ${by.key}` } });

describe("a client that cancels by the job's id", () => {
  it("stops a stream: its worker gets `cancel`, the stream ends with the code, and a second call changes nothing", async () => {
    const { agent, model } = await serve();
    const asking = chat(key, { model, stream: true });
    const job = await agent.next("job");
    agent.delta(job, 0, "x");
    const response = await asking;
    const id = response.headers.get("x-ligand-job") ?? "";
    expect(id).toBe(job.jobId);
    const cancelled = await cancel(id);
    expect(cancelled.status).toBe(200);
    expect(await cancelled.json()).toEqual({ id, cancelled: true, state: "cancelled" });
    expect(await agent.next("cancel")).toMatchObject({ jobId: id, lease: job.lease });
    const { data } = await events(response);
    expect(JSON.parse(data[0] ?? "").id).toBe(`chatcmpl-${id}`);
    expect(JSON.parse(data.at(-1) ?? "")).toMatchObject({ error: { code: "cancelled" } });
    for (const name of [id, `chatcmpl-${id}`]) {
      expect(await (await cancel(name)).json()).toEqual({ id, cancelled: true, state: "cancelled" });
    }
  });

  it("takes a waiting job out of the queue, and a whole answer is refused as cancelled", async () => {
    const { agent, model } = await serve({ free: 0 });
    const queued = await chat(key, { model, stream: true });
    expect(await (await cancel(queued.headers.get("x-ligand-job") ?? "")).json()).toMatchObject({ cancelled: true });
    expect((await events(queued)).data.at(-1)).toContain("cancelled");
    agent.ready(1, model);
    const whole = chat(key, { model });
    const job = await agent.next("job");
    await cancel(job.jobId);
    const response = await whole;
    expect(response.status).toBe(499);
    expect((await response.clone().json<{ error: { message: string } }>()).error.message).toContain("Send it again");
    expect(response.headers.get("x-ligand-job")).toBe(job.jobId);
  });

  it("learns that the job had already ended, also when only D1 has it", async () => {
    const { agent, model } = await serve();
    const asking = chat(key, { model });
    const job = await agent.next("job");
    await agent.done(job, "Hello");
    await asking;
    expect(await (await cancel(job.jobId)).json()).toEqual({ id: job.jobId, cancelled: false, state: "done" });

    const old = crypto.randomUUID();
    await eventually(() => env.DB.prepare("SELECT 1 FROM metering WHERE job_id = ?").bind(job.jobId).first());
    await env.DB.prepare(
      `INSERT INTO metering (job_id, key_id, model, kind, outcome, prompt_tokens, completion_tokens, flags, attempts,
       queued_ms, accepted_at_ms, ended_at_ms) VALUES (?, ?, 'm', 'chat', 'cancelled', 0, 0, '', 1, 0, 0, 0)`,
    )
      .bind(old, key.id)
      .run();
    expect(await (await cancel(old)).json()).toEqual({ id: old, cancelled: true, state: "cancelled" });
  });

  it("or by its request id cancels all its requests with that id, and no other client's", async () => {
    const { agent, model } = await serve({ free: 2 });
    const named = (by: ClientKey, name: string) =>
      chat(
        by,
        { model, stream: true },
        { headers: { authorization: `Bearer ${by.key}`, "x-request-id": name, "content-type": "application/json" } },
      );
    const stranger = await createKey();
    const theirs = named(stranger, "mine:1");
    const theirJob = await agent.next("job");
    const [first, second] = [named(key, "mine:1"), named(key, "mine:1")];
    const job = await agent.next("job");
    expect((await cancel("mine:2")).status).toBe(404);
    const answer = await (await cancel("mine:1")).json<{ id: string }>();
    expect(await agent.next("cancel")).toMatchObject({ jobId: job.jobId });
    const jobs = await Promise.all([first, second].map(async (each) => (await each).headers.get("x-ligand-job")));
    expect(answer).toEqual({ id: expect.toBeOneOf(jobs), cancelled: true, state: "cancelled" });
    expect(await (await cancel("mine:1")).json()).toEqual(answer);
    agent.delta(theirJob, 0, "x");
    await agent.done(theirJob, "x");
    expect((await events(await theirs)).data.at(-1)).toBe("[DONE]");
    expect(await (await cancel("mine:1", stranger)).json()).toMatchObject({ id: theirJob.jobId, cancelled: false });
  });

  it("with another key, or an unknown id, finds nothing", async () => {
    const { agent, model } = await serve();
    const asking = chat(key, { model });
    const job = await agent.next("job");
    const stranger = await createKey();
    const bodies = await Promise.all(
      [await cancel(job.jobId, stranger), await cancel(crypto.randomUUID(), stranger), await cancel("nonsense")].map(
        async (response) => {
          expect(response.status).toBe(404);
          return response.text();
        },
      ),
    );
    expect(new Set(bodies).size).toBe(1);
    expect((await ask(`/v1/jobs/${job.jobId}/cancel`, { method: "POST" })).status).toBe(401);
    await agent.done(job, "still here");
    expect((await asking).status).toBe(200);
    expect((await cancel(job.jobId, stranger)).status).toBe(404);
  });
});
