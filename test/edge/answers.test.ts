import { expect, it } from "vitest";
import { StreamedAnswer } from "../../edge/inference/answers.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

/** A stream's client side, where its reader decides what happens. */
const head = { jobId: "j", kind: "chat" as const, model: "m", createdSeconds: 1, includeUsage: false };
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

it("counts unread bytes as UTF-8, the write under way included", async () => {
  const { answer, gone } = stream();
  const character = "\u4f60".repeat(LIMITS.readerBufferBytes / 3 / 4);
  for (let quarters = 1; quarters <= 3; quarters++) answer.text(served, character);
  expect(gone).toEqual([]);
  answer.text(served, character);
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
