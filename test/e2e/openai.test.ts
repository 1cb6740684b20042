import OpenAI, { APIUserAbortError, AuthenticationError, BadRequestError, NotFoundError, RateLimitError } from "openai";
import { beforeAll, describe, expect, it } from "vitest";
import { type PoolProcess, startPool, startWorker, type WorkerProcess } from "./support.ts";

/** The official SDK, unmodified, against a real pool, a real worker and a real model. */
let pool: PoolProcess;
let worker: WorkerProcess;
let client: OpenAI;
const MODEL = "ligand-embedded";
const ask = (content: string) => ({ model: MODEL, messages: [{ role: "user" as const, content }], temperature: 0 });

beforeAll(async () => {
  pool = await startPool();
  worker = await startWorker(pool, { slots: 8 });
  client = new OpenAI({ baseURL: `${pool.url}/v1`, apiKey: pool.credentials.client_key, maxRetries: 0 });
});

describe("the official client", () => {
  it("lists models", async () => {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    expect(ids).toEqual([MODEL]);
    expect(await client.models.retrieve(MODEL)).toMatchObject({ id: MODEL, object: "model" });
  });

  it("gets a chat answer in one piece", async () => {
    const { data, response } = await client.chat.completions.create(ask("What is a pool?")).withResponse();
    expect(data.choices[0]?.message.content).toMatch(/^[A-Z].*[.!?]$/s);
    expect(data.choices[0]?.finish_reason).toBe("stop");
    expect(data.usage?.completion_tokens).toBeGreaterThan(3);
    expect(response.headers.get("x-ligand-worker")).toBe(worker.workerId);
    expect(response.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
  });

  it("continues a chat with the earlier answer", async () => {
    const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: "user", content: "What is a pool?" }];
    const first = await client.chat.completions.create({ model: MODEL, messages });
    const firstMessage = first.choices[0]?.message ?? expect.fail("no answer");
    messages.push(firstMessage, { role: "user", content: "And what is a worker?" });
    const second = await client.chat.completions.create({ model: MODEL, messages });
    expect(second.choices[0]?.message.content).toMatch(/\w+/);
    expect(second.usage?.prompt_tokens).toBeGreaterThan(first.usage?.prompt_tokens ?? Number.POSITIVE_INFINITY);
  });

  it("gets log probabilities of chats and completions, whole and streamed", async () => {
    const asking = { ...ask("What is a pool?"), logprobs: true, top_logprobs: 3, max_tokens: 20 };
    const whole = (await client.chat.completions.create(asking)).choices[0];
    const tokens = whole?.logprobs?.content ?? [];
    expect(tokens.length).toBeGreaterThan(3);
    expect(
      tokens
        .map(({ token }) => token)
        .join("")
        .trimStart(),
    ).toBe(whole?.message.content);
    for (const { token, logprob, top_logprobs: top } of tokens) {
      // With temperature 0 the chosen token is the most likely one.
      expect(top[0]).toMatchObject({ token, logprob });
      expect(top.reduce((sum, one) => sum + Math.exp(one.logprob), 0)).toBeLessThanOrEqual(1.001);
    }
    const stream = await client.chat.completions.create({ ...asking, stream: true });
    const streamed = (await Array.fromAsync(stream)).flatMap(({ choices }) => choices[0]?.logprobs?.content ?? []);
    expect(streamed.map(({ token }) => token)).toEqual(tokens.map(({ token }) => token));

    const { choices } = await client.completions.create({
      model: MODEL,
      prompt: "A pool",
      temperature: 0,
      logprobs: 2,
      max_tokens: 8,
    });
    const lists = choices[0]?.logprobs;
    expect(lists?.tokens?.length).toBe(lists?.token_logprobs?.length);
    expect(lists?.text_offset?.[0]).toBe(0);
    expect(Object.keys(lists?.top_logprobs?.[0] ?? {})).toContain(lists?.tokens?.[0]);
  });

  it("streams the same answer, with usage at the end", async () => {
    const whole = await client.chat.completions.create({ ...ask("What is a worker?"), seed: 7 });
    const stream = await client.chat.completions.create({
      ...ask("What is a worker?"),
      seed: 7,
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = await Array.fromAsync(stream);
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).toBe(
      whole.choices[0]?.message.content,
    );
    expect(chunks[0]?.choices[0]?.delta.role).toBe("assistant");
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: whole.usage });
    expect(chunks.at(-2)?.choices[0]?.finish_reason).toBe("stop");
  });

  it("completes a prompt", async () => {
    const completion = await client.completions.create({
      model: MODEL,
      prompt: "A pool is",
      max_tokens: 6,
      temperature: 0,
    });
    expect(completion.choices[0]?.text.length).toBeGreaterThan(0);
    expect(completion.usage?.completion_tokens).toBeLessThanOrEqual(6);
  });

  it("gets several answers for one prompt, whole and streamed, and one answer for each of several prompts", async () => {
    const request = { ...ask("Hello?"), n: 2, seed: 1, temperature: 1 };
    const whole = await client.chat.completions.create(request);
    const answers = whole.choices.map(({ message }) => message.content);
    expect(answers).toHaveLength(2);
    const streamed = ["", ""];
    let usage: OpenAI.CompletionUsage | null | undefined;
    const options = { stream: true, stream_options: { include_usage: true } } as const;
    for await (const chunk of await client.chat.completions.create({ ...request, ...options })) {
      usage = chunk.usage;
      for (const { index, delta } of chunk.choices) streamed[index] += delta.content ?? "";
    }
    // Each choice has its own seed, so a repeated request gives the same text.
    expect(streamed).toEqual(answers);
    expect(usage).toEqual(whole.usage);
    const { choices } = await client.completions.create({ model: MODEL, prompt: ["A pool", "A lane"], max_tokens: 4 });
    expect(choices.map(({ index, finish_reason }) => [index, finish_reason])).toEqual([
      [0, expect.stringMatching(/length|stop/)],
      [1, expect.stringMatching(/length|stop/)],
    ]);
  });

  it("stops at a stop sequence, which is not part of the answer, and at a token limit", async () => {
    const whole =
      (await client.chat.completions.create({ ...ask("What is a lane?"), seed: 1 })).choices[0]?.message.content ?? "";
    const stop = whole.split(" ")[4] ?? expect.fail(`too short an answer: ${whole}`);
    const stopped = await client.chat.completions.create({ ...ask("What is a lane?"), seed: 1, stop });
    expect(stopped.choices[0]).toMatchObject({
      finish_reason: "stop",
      message: { content: whole.slice(0, whole.indexOf(stop)) },
    });
    const short = await client.chat.completions.create({ ...ask("What is a lane?"), seed: 1, max_tokens: 3 });
    expect(short.choices[0]?.finish_reason).toBe("length");
    expect(short.usage?.completion_tokens).toBe(3);
  });

  it("embeds texts as numbers, and as base64, which the client asks for by default", async () => {
    const input = ["What is a pool?", "What is a worker?"];
    const decoded = await client.embeddings.create({ model: MODEL, input });
    const plain = await client.embeddings.create({ model: MODEL, input, encoding_format: "float" });
    expect(decoded.data.map(({ index, embedding }) => [index, embedding.length])).toEqual([
      [0, 256],
      [1, 256],
    ]);
    for (const [i, { embedding }] of decoded.data.entries()) {
      expect(Math.hypot(...embedding)).toBeCloseTo(1, 5);
      expect(plain.data[i]?.embedding).toEqual(Array.from(embedding));
    }
    expect(decoded.usage.prompt_tokens).toBeGreaterThan(6);
    expect(decoded.usage.total_tokens).toBe(decoded.usage.prompt_tokens);
    const other = client.embeddings.create({ model: MODEL, input, dimensions: 64 });
    await expect(other).rejects.toMatchObject({ status: 400, code: "unsupported_parameter", param: "dimensions" });
    const long = client.embeddings.create({ model: MODEL, input: "pool ".repeat(5_000) });
    await expect(long).rejects.toMatchObject({ status: 400, code: "context_length_exceeded", param: "input" });
  });

  it("gets its own error classes, with status, code and the offending parameter", async () => {
    const stranger = new OpenAI({ baseURL: `${pool.url}/v1`, apiKey: "lk_forged", maxRetries: 0 });
    await expect(stranger.models.list()).rejects.toMatchObject({ status: 401, code: "invalid_api_key" });
    await expect(stranger.models.list()).rejects.toBeInstanceOf(AuthenticationError);

    const unknown = client.chat.completions.create({ ...ask("x"), model: "no-such-model" });
    await expect(unknown).rejects.toBeInstanceOf(NotFoundError);
    await expect(unknown).rejects.toMatchObject({ status: 404, code: "model_not_found" });

    const unsupported = client.chat.completions.create({ ...ask("x"), logit_bias: { "1": 1 } });
    await expect(unsupported).rejects.toBeInstanceOf(BadRequestError);
    await expect(unsupported).rejects.toMatchObject({ code: "unsupported_parameter", param: "logit_bias" });

    for (const stream of [false, true]) {
      const tooLong = client.chat.completions.create({ ...ask("pool ".repeat(5_000)), stream });
      await expect(tooLong).rejects.toBeInstanceOf(BadRequestError);
      await expect(tooLong).rejects.toMatchObject({ status: 400, code: "context_length_exceeded" });
    }

    const { key } = await pool.admin.createKey({ label: "one a minute", requests_per_minute: 1 });
    const limited = new OpenAI({ baseURL: `${pool.url}/v1`, apiKey: key, maxRetries: 0 });
    await limited.chat.completions.create({ ...ask("Hello"), max_tokens: 1 });
    const refused = limited.chat.completions.create(ask("Hello"));
    await expect(refused).rejects.toBeInstanceOf(RateLimitError);
    await expect(refused).rejects.toMatchObject({ status: 429, code: "rate_limit_exceeded" });
  });

  it("aborts by a signal, with its own error class", async () => {
    const controller = new AbortController();
    const asking = client.chat.completions.create(ask("What is a bond?"), { signal: controller.signal });
    controller.abort();
    await expect(asking).rejects.toBeInstanceOf(APIUserAbortError);
  });
});
