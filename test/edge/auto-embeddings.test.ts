import { env } from "cloudflare:workers";
import { expect, it } from "vitest";
import { ask, type ClientKey, createKey, eventually, invite, ScriptedAgent } from "./support.ts";

const vector = new Uint8Array(new Float32Array([1]).buffer);

const embed = (key: ClientKey) =>
  ask("/v1/embeddings", {
    method: "POST",
    headers: { authorization: `Bearer ${key.key}` },
    body: JSON.stringify({ model: "auto", input: "hi" }),
  });

it("auto means the first embedding model by name, free or not, and the answer names it", async () => {
  const key = await createKey();
  const offer = async (model: string, kinds: ("chat" | "embedding")[]) =>
    ScriptedAgent.serving((await invite()).token, { model, kinds, free: model === "b" ? 0 : 4 });
  await offer("a", ["chat"]);
  const [first, second] = [await offer("b", ["embedding"]), await offer("c", ["embedding"])];
  const asking = embed(key);
  // The request waits for the model that has no free slot now. No other model gets it.
  await eventually(async () => {
    const { models } = await env.LANE.getByName("main").overview();
    return models.find(({ name }) => name === "b")?.queued === 1;
  });
  first.ready(1, "b");
  const job = await first.next("job");
  const { jobId, lease } = job;
  first.send({ type: "vector", jobId, lease, index: 0, vector: btoa(String.fromCharCode(...vector)) });
  await first.embedded(job, [vector], 1);
  expect(await (await asking).json()).toMatchObject({ model: "b", data: [{ embedding: [1] }] });
  first.close();
  second.close();
});
