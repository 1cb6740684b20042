import { beforeEach, describe, expect, it } from "vitest";
import { utf8 } from "../../schema/crypto/bytes.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { JobFrame, TokenLogprob } from "../../schema/wire/worker-frames.ts";
import { ask, type ClientKey, chat, createKey, events, invite, ScriptedAgent } from "./support.ts";

let key: ClientKey;
let model: string;
let agent: ScriptedAgent;
let models = 0;
beforeEach(async () => {
  key = await createKey();
  model = `logprobs-${++models}`;
  agent = await ScriptedAgent.serving((await invite()).token, { model, speaks: "ligand.worker.v1.2" });
  return () => agent.close();
});

const token = (text: string, logprob = -0.25): TokenLogprob => ({
  token: text,
  logprob,
  top: [{ token: text, logprob }],
});
const sendLogprobs = (job: JobFrame, tokens: TokenLogprob[]) =>
  agent.send({ type: "logprobs", jobId: job.jobId, lease: job.lease, tokens });
const usage = { promptTokens: 3, completionTokens: 2 };

describe("log probabilities", () => {
  it("are part of a whole chat answer", async () => {
    const asking = chat(key, { model, logprobs: true, top_logprobs: 1 });
    const job = await agent.next("job");
    expect(job.request).toMatchObject({ topLogprobs: 1 });
    sendLogprobs(job, [token("Hel")]);
    sendLogprobs(job, [token("lo", -1)]);
    await agent.finish(job, { output: utf8("Hello"), usage, whole: { text: "Hello" } });
    const { choices } = await (await asking).json<{ choices: { logprobs: { content: object[] } }[] }>();
    expect(choices[0]?.logprobs.content).toMatchObject([
      { token: "Hel", logprob: -0.25, bytes: [72, 101, 108], top_logprobs: [{ token: "Hel", logprob: -0.25 }] },
      { token: "lo", logprob: -1 },
    ]);
  });

  it("are streamed with their text", async () => {
    const asking = chat(key, { model, logprobs: true, stream: true });
    const job = await agent.next("job");
    expect(job.request).toMatchObject({ topLogprobs: 0 });
    for (const [seq, text] of ["Hel", "lo"].entries()) {
      sendLogprobs(job, [{ ...token(text), top: [] }]);
      agent.delta(job, seq, text);
    }
    await agent.finish(job, { output: utf8("Hello"), usage });
    const { data } = await events(await asking);
    const streamed = data.slice(0, -1).map((line) => {
      const { delta, logprobs } = JSON.parse(line).choices[0];
      return [delta.content, logprobs?.content.map((one: TokenLogprob) => one.token)];
    });
    expect(streamed).toEqual([
      ["", undefined],
      ["Hel", ["Hel"]],
      ["lo", ["lo"]],
      [undefined, undefined],
    ]);
  });

  it("are lists in a completion", async () => {
    const asking = ask("/v1/completions", {
      method: "POST",
      headers: { authorization: `Bearer ${key.key}` },
      body: JSON.stringify({ model, prompt: "x", logprobs: 1 }),
    });
    const job = await agent.next("job");
    expect(job.request).toMatchObject({ prompt: "x", topLogprobs: 1 });
    sendLogprobs(job, [token("Hel"), token("lo", -1)]);
    await agent.finish(job, { output: utf8("Hello"), usage, whole: { text: "Hello" } });
    expect(await (await asking).json()).toMatchObject({
      choices: [{ logprobs: { tokens: ["Hel", "lo"], token_logprobs: [-0.25, -1], text_offset: [0, 3] } }],
    });
  });

  it.each<[what: string, body: object, tokens: TokenLogprob[], times: number]>([
    ["that were not requested", {}, [token("x")], 1],
    ["with more likely tokens than were asked for", { logprobs: true }, [token("x")], 1],
    ["above zero", { logprobs: true, top_logprobs: 1 }, [token("x", 0.1)], 1],
    [
      "of more tokens than one piece of text has",
      { logprobs: true, top_logprobs: 1, stream: true },
      Array(LIMITS.logprobsPerFrame).fill(token("x")),
      LIMITS.logprobsBeforeText / LIMITS.logprobsPerFrame + 1,
    ],
  ])("%s close the socket", async (_what, body, tokens, times) => {
    const leave = new AbortController();
    const asking = chat(key, { model, ...body }, { signal: leave.signal });
    const job = await agent.next("job");
    for (let i = 0; i < times; i++) sendLogprobs(job, tokens);
    expect((await agent.closed).code).toBe(1008);
    leave.abort();
    await asking.catch(() => {});
  });

  it("of a whole answer are bounded: the worker must stop, and the client gets the reason", async () => {
    const asking = chat(key, { model, logprobs: true, top_logprobs: 20 });
    const job = await agent.next("job");
    const long = "x".repeat(LIMITS.logprobTokenChars);
    const top = Array.from({ length: 20 }, () => ({ token: long, logprob: -1 }));
    const tokens = Array(LIMITS.logprobsPerFrame).fill({ token: long, logprob: -1, top });
    for (let i = 0; i < 60; i++) sendLogprobs(job, tokens);
    expect(await agent.next("rejected")).toMatchObject({ jobId: job.jobId });
    expect((await asking).status).toBe(400);
  });

  it.each<[what: string, options: object, body: object]>([
    ["an older agent serves", { speaks: "ligand.worker.v1.1" }, {}],
    ["a grammar holds the answer", {}, { response_format: { type: "json_object" } }],
    ["tools may be called", {}, { tools: [{ type: "function", function: { name: "f" } }] }],
  ])("are refused by name where only %s", async (_what, options, body) => {
    const other = await ScriptedAgent.serving((await invite()).token, {
      model: `${model}-other`,
      speaks: "ligand.worker.v1.2",
      ...options,
    });
    const response = await chat(key, { model: `${model}-other`, logprobs: true, ...body });
    expect([response.status, await response.json()]).toMatchObject([
      400,
      { error: { code: "unsupported_parameter", param: "logprobs" } },
    ]);
    other.close();
  });
});
