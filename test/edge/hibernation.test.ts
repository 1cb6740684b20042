import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, it } from "vitest";
import { RecordOutbox } from "../../edge/record/record-outbox.ts";
import { WorkerTokens } from "../../edge/workers/worker-tokens.ts";
import { admin, chat, createKey, eventually, invite, ScriptedAgent } from "./support.ts";

interface Listed {
  workers: { models: { name: string; free: number }[] }[];
}

it("a lane that hibernates wakes with its workers and their credit", async () => {
  const key = await createKey();
  const agent = await ScriptedAgent.serving((await invite()).token, { slots: 2 });
  const free = async () => (await admin<Listed>("GET", "/workers")).workers[0]?.models[0]?.free;
  await eventually(async () => (await free()) === 2);
  for (const text of ["once", "twice"]) {
    await evictDurableObject(env.LANE.getByName("main"));
    const asking = chat(key);
    await agent.done(await agent.next("job"), text);
    expect(await (await asking).json()).toMatchObject({ choices: [{ message: { content: text } }] });
    agent.ready(2);
    await eventually(async () => (await free()) === 2);
  }
});

it("an account that was evicted still knows its streams and its limits", async () => {
  const key = await createKey({ streams: 1 });
  const account = env.ACCOUNT.getByName(key.id);
  const agent = await ScriptedAgent.serving((await invite()).token, { model: "evicted" });
  const asking = chat(key, { model: "evicted", stream: true });
  const job = await agent.next("job");
  agent.delta(job, 0, "x");
  const response = await asking;
  // The account saves its state after the answer, about a second later.
  await eventually(() =>
    runInDurableObject(account, (_account, state) => state.storage.kv.get("traffic") !== undefined),
  );
  await evictDurableObject(account);
  expect((await chat(key, { model: "evicted", stream: true })).status).toBe(429);
  await agent.done(job, "x");
  await response.text();
});

it("a lane flushes, when it wakes, what a crash left between its commit and D1", async () => {
  const { id } = await invite();
  const lane = env.LANE.getByName("main");
  const left = `${id}-left-behind`;
  await runInDurableObject(lane, (_lane, state) => {
    const outbox = new RecordOutbox(state.storage, env.DB);
    const row = new WorkerTokens(state.storage, outbox).find(id) ?? expect.fail();
    outbox.put("worker_tokens", { ...row, id: left });
  });
  await evictDurableObject(lane);
  await lane.overview();
  await eventually(() => env.DB.prepare("SELECT id FROM worker_tokens WHERE id = ?").bind(left).first());
});

it("a lane that wakes with attachments of an earlier release knows which frames each worker knows", async () => {
  const lane = env.LANE.getByName("main");
  const [knows, older] = await Promise.all(
    ["knows-elsewhere", "older"].map(async (model) => ScriptedAgent.serving((await invite()).token, { model })),
  );
  if (!knows || !older) return expect.fail();
  await runInDurableObject(lane, (_lane, state) => {
    for (const socket of state.getWebSockets()) {
      const { minor: _, ...attached } = socket.deserializeAttachment() as { minor?: number; workerId?: string };
      const before = attached.workerId === knows.workerId ? { isExtended: true } : {};
      socket.serializeAttachment({ ...attached, ...before });
    }
  });
  await evictDurableObject(lane);
  const key = await createKey();
  expect((await chat(key, { model: "never-served-here" })).status).toBe(404);
  expect(await knows.next("elsewhere")).toEqual({ type: "elsewhere", jobs: 1 });
  const asking = chat(key, { model: "older" });
  // Its next frame is a job: the older worker got no frame about the other request.
  await older.done(await older.next("job"), "served");
  expect((await asking).status).toBe(200);
});
