import { createParser } from "eventsource-parser";
import { Stream } from "openai/core/streaming";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { StreamedAnswer } from "../../edge/inference/answers/streamed-answer.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

/** How the parsers of real clients read slow streams. */
beforeEach(() => vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => vi.useRealTimers());

const SILENT_MS = 290_000;
const TICK_MS = 500;
const served = { workerId: "w", queuedMs: 1, deterministic: true };
const usage = { promptTokens: 1, completionTokens: 2 };
const events = { gone: () => {}, closed: () => {}, hold: () => true, unread: () => true };

/** A stream that waits in the queue, then at a worker, sends a word, is silent for long, and sends another. */
async function slowStream(): Promise<string> {
  const base = { jobId: "j", requestId: "r", model: "m", createdSeconds: 1, includeUsage: true };
  const head = { ...base, format: "chat" as const };
  const answer = new StreamedAnswer(head, Date.now(), events);
  const silent = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += TICK_MS) {
      vi.setSystemTime(Date.now() + TICK_MS);
      answer.idle(Date.now(), () => 3);
      // The reader takes each comment before the next tick.
      await new Promise((resolve) => setTimeout(resolve));
    }
  };
  const reading = answer.response.then((response) => response.text());
  await silent(2_500);
  answer.accepted(served);
  await silent(1_500);
  answer.text(served, 0, { text: "Hel" });
  await silent(SILENT_MS);
  answer.text(served, 0, { text: "lo" });
  answer.finished(served, 0, "stop");
  answer.done([], usage);
  return reading;
}

const textOf = (chunks: { choices: { delta: { content?: string } }[] }[]) =>
  chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join("");

it("an idle stream writes one line a second, and every client can read it", async () => {
  const text = await slowStream();
  const lines = text.split("\n");
  const comments = lines.filter((line) => line.startsWith(":"));
  expect(comments.slice(0, 2)).toEqual([": queued place=3", ": keep-alive"]);
  expect(comments.filter((line) => line === ": x-ligand-worker=w x-ligand-queue-ms=1")).toHaveLength(1);
  const silentLines = Math.max(...longestRuns(lines));
  expect(silentLines).toBeGreaterThan((SILENT_MS / LIMITS.idleStreamCommentMs) * 0.9);

  // eventsource-parser, which many clients use.
  const data: string[] = [];
  createParser({ onEvent: (event) => data.push(event.data), onError: (error) => expect.fail(error.message) }).feed(
    text,
  );
  expect(data.at(-1)).toBe("[DONE]");
  expect(textOf(data.slice(0, -1).map((chunk) => JSON.parse(chunk)))).toBe("Hello");

  // The official SDK.
  const chunks: Parameters<typeof textOf>[0] = [];
  for await (const chunk of Stream.fromSSEResponse<(typeof chunks)[number]>(new Response(text), new AbortController()))
    chunks.push(chunk);
  expect(textOf(chunks)).toBe("Hello");

  // go-openai (stream_reader.go) gives up after more than 300 lines in a row that are no data.
  expect(silentLines).toBeLessThanOrEqual(300);

  // openai-go before 3.64 (ssestream.go, openai/openai-go#556): each blank line is an event, and one without data fails.
  expect(lines.filter((line, i) => line === "" && i < lines.length - 1 && !lines[i - 1]?.startsWith("data:"))).toEqual(
    [],
  );
});

/** The lengths of runs of lines without data. */
function longestRuns(lines: string[]): number[] {
  const runs = [0];
  for (const line of lines) {
    if (line.startsWith("data:")) runs.push(0);
    else runs[runs.length - 1] = (runs.at(-1) ?? 0) + 1;
  }
  return runs;
}
