import { expect, it } from "vitest";
import { admin, chat, createKey, eventually, invite, ScriptedAgent } from "./support.ts";

it("the operator sees what a lane holds for jobs and answers, and an idle lane holds nothing", async () => {
  const holds = async () => {
    const { lanes } = await admin<{ lanes: { holds: Record<string, number> }[] }>("GET", "/doctor");
    return lanes[0]?.holds ?? {};
  };
  const idle = async () => Object.values(await holds()).every((n) => n === 0);
  expect(await idle()).toBe(true);
  const key = await createKey();
  const model = "held";
  const agent = await ScriptedAgent.serving((await invite()).token, { model, free: 1 });
  const asked = [chat(key, { model, stream: true }), chat(key, { model })];
  const job = await agent.next("job");
  agent.delta(job, 0, "x");
  const busy = await eventually(async () => {
    const held = await holds();
    return held.queued === 1 && held;
  });
  expect(busy).toMatchObject({ jobs: 2, queues: 1, keys: 1, jobs_at_workers: 1, jobs_on_the_way: 1, answers: 2 });
  expect(busy.request_bytes).toBeGreaterThan(100);
  await agent.done(job, "x");
  agent.ready(1, model);
  await agent.done(await agent.next("job"), "Hello");
  agent.ready(1, model);
  for (const answer of asked) await (await answer).text();
  await eventually(idle);
});
