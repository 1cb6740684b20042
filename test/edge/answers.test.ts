import { expect, it } from "vitest";
import { StreamedAnswer, WholeAnswer } from "../../edge/inference/answers.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

/** A stream's client side, where its reader decides what happens. */
const head = {
  jobId: "j",
  format: "chat" as const,
  model: "m",
  createdSeconds: 1,
  includeUsage: false,
  requestId: "r",
};
const served = { workerId: "w", queuedMs: 0, deterministic: true };
const end = {
  finishReason: "stop" as const,
  usage: { promptTokens: 1, completionTokens: 1 },
  text: undefined,
  toolCalls: undefined,
  vectors: [],
};

function stream() {
  const gone: string[] = [];
  return { gone, answer: new StreamedAnswer(head, Date.now(), (code) => gone.push(code)) };
}

it("gives up a reader that takes nothing for half a minute, also when the answer has ended", async () => {
  for (const ends of [false, true]) {
    const { answer, gone } = stream();
    answer.text(served, "hello");
    if (ends) answer.done(served, end);
    const response = await answer.response;
    answer.idle(Date.now() + LIMITS.readerStallMs - 1_000);
    expect(answer.closed).toBe(false);
    answer.idle(Date.now() + LIMITS.readerStallMs + 1);
    expect(answer.closed).toBe(true);
    expect(gone).toEqual(ends ? [] : ["inference/slow-reader"]);
    await expect(response.text()).rejects.toThrow();
  }
});

const HOLD_MS = 75_000;
function whole() {
  const gone: string[] = [];
  return { gone, answer: new WholeAnswer(head, 0, HOLD_MS, (code) => gone.push(code)) };
}

it("the status of a whole answer waits for the answer or its failure until the hold ends", async () => {
  const [refused, answered] = [whole().answer, whole().answer];
  for (const answer of [refused, answered]) answer.idle(HOLD_MS - 1);
  refused.failed("inference/queue-timeout");
  expect((await refused.response).status).toBe(503);
  answered.done(served, { ...end, text: "hello" });
  expect((await answered.response).headers.get("x-ligand-worker")).toBe("w");
});

it("an answer in one piece that is late is white space first, also before what failed", async () => {
  for (const fails of [false, true]) {
    const { answer, gone } = whole();
    for (const ms of [0, 1, LIMITS.wholeSpaceMs]) answer.idle(HOLD_MS + ms);
    if (fails) answer.failed("inference/queue-timeout");
    else answer.done(served, { ...end, text: "hello" });
    answer.idle(HOLD_MS + 60_000);
    const response = await answer.response;
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "application/json"]);
    const text = await response.text();
    expect(/^ */.exec(text)?.[0]).toBe("  ");
    expect(JSON.parse(text)).toMatchObject(
      fails ? { error: { code: "queue_timeout" } } : { choices: [{ message: { content: "hello" } }] },
    );
    expect(gone).toEqual([]);
  }
});

it("tells once that the reader of an answer in one piece is gone", async () => {
  const { answer, gone } = whole();
  answer.idle(HOLD_MS);
  await (await answer.response).body?.cancel();
  answer.idle(HOLD_MS + LIMITS.wholeSpaceMs);
  await expect.poll(() => gone[0]).toBe("inference/cancelled");
  answer.failed("inference/cancelled");
  answer.idle(HOLD_MS + 60_000);
  expect(new Set(gone).size).toBe(1);
});

it("counts unread bytes as UTF-8, the write under way included", async () => {
  const { answer, gone } = stream();
  const character = "\u4f60".repeat(LIMITS.readerBufferBytes / 3 / 4);
  for (let quarters = 1; quarters <= 3; quarters++) answer.text(served, character);
  expect(gone).toEqual([]);
  // The piece that goes past the bound is still taken; the next one is not.
  for (let more = 0; more < 2; more++) answer.text(served, character);
  expect(gone).toEqual(["inference/slow-reader"]);
  await (await answer.response).body?.cancel().catch(() => {});
});

it("is closed once everything has been read", async () => {
  const { answer } = stream();
  answer.text(served, "hello");
  answer.done(served, end);
  const text = await (await answer.response).text();
  expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
  await expect.poll(() => answer.closed).toBe(true);
});
