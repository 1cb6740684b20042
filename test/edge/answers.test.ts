import { describe, expect, it } from "vitest";
import type { AnswerEvents } from "../../edge/inference/answers/answer.ts";
import { StreamedAnswer } from "../../edge/inference/answers/streamed-answer.ts";
import { WholeAnswer } from "../../edge/inference/answers/whole-answer.ts";
import type { AnswerHead } from "../../edge/inference/formats/answer-format.ts";
import type { PartEnd } from "../../edge/inference/jobs/job-group-tracker.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

/** The client's side of an answer: what happens depends on how it reads. */
const base = { jobId: "j", requestId: "r", model: "m", createdSeconds: 1, includeUsage: false };
const head = { ...base, format: "chat" as const };
const served = { workerId: "w", queuedMs: 0, deterministic: true };
const usage = { promptTokens: 1, completionTokens: 1 };
const end = (text?: string): PartEnd => ({
  ...{ served, usage, finishReason: "stop", text, toolCalls: undefined, vectors: [] },
});

/** What an answer reported to its lane. */
class Reports {
  readonly gone: string[] = [];
  unreadBytes = 0;
  keptBytes = 0;
  closed = 0;
  readonly #roomBytes: number;
  constructor(roomBytes = Number.POSITIVE_INFINITY) {
    this.#roomBytes = roomBytes;
  }
  readonly events: AnswerEvents = {
    gone: (code) => this.gone.push(code),
    closed: () => {
      this.closed += 1;
    },
    hold: (bytes) => {
      if (this.keptBytes + bytes > this.#roomBytes) return false;
      this.keptBytes += bytes;
      return true;
    },
    unread: (bytes) => {
      if (this.unreadBytes + bytes > this.#roomBytes) return false;
      this.unreadBytes += bytes;
      return true;
    },
  };
}

function stream(reports = new Reports()) {
  return { reports, gone: reports.gone, answer: new StreamedAnswer(head, Date.now(), reports.events) };
}

function finish(answer: StreamedAnswer): void {
  answer.finished(served, 0, "stop");
  answer.done([end()], usage);
}

it("gives up a client that reads nothing for half a minute, also after the answer has ended", async () => {
  for (const ends of [false, true]) {
    const { answer, gone } = stream();
    answer.text(served, 0, { text: "hello" });
    if (ends) finish(answer);
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
function whole(of: AnswerHead = head) {
  const reports = new Reports();
  return { reports, gone: reports.gone, answer: new WholeAnswer(of, 0, HOLD_MS, reports.events) };
}

it("the status of a whole answer waits for the answer or its failure until the hold ends", async () => {
  const [refused, answered] = [whole().answer, whole().answer];
  for (const answer of [refused, answered]) answer.idle(HOLD_MS - 1);
  refused.failed("inference/queue-timeout");
  expect((await refused.response).status).toBe(503);
  answered.done([end("hello")], usage);
  expect((await answered.response).headers.get("x-ligand-worker")).toBe("w");
});

it("a late whole answer starts with white space, and so does a late failure", async () => {
  for (const fails of [false, true]) {
    const { answer, gone } = whole();
    for (const ms of [0, 1, LIMITS.wholeSpaceMs]) answer.idle(HOLD_MS + ms);
    if (fails) answer.failed("inference/queue-timeout");
    else answer.done([end("hello")], usage);
    answer.idle(HOLD_MS + 60_000);
    const response = await answer.response;
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "application/json"]);
    const text = await response.text();
    expect(text).toMatch(/^ /);
    expect(JSON.parse(text)).toMatchObject(
      fails ? { error: { code: "queue_timeout" } } : { choices: [{ message: { content: "hello" } }] },
    );
    expect(gone).toEqual([]);
  }
});

it("reports once that the client of a whole answer is gone", async () => {
  const { answer, gone } = whole();
  answer.idle(HOLD_MS);
  await (await answer.response).body?.cancel();
  answer.idle(HOLD_MS + LIMITS.wholeSpaceMs);
  await expect.poll(() => gone[0]).toBe("inference/cancelled");
  answer.failed("inference/cancelled");
  answer.idle(HOLD_MS + 60_000);
  expect(new Set(gone).size).toBe(1);
});

it("counts unread bytes as UTF-8, those of the current write included", async () => {
  const { answer, gone } = stream();
  const character = "\u4f60".repeat(LIMITS.readerBufferBytes / 3 / 4);
  for (let quarters = 1; quarters <= 3; quarters++) answer.text(served, 0, { text: character });
  expect(gone).toEqual([]);
  // The piece that exceeds the bound is still taken. The next one is not.
  for (let more = 0; more < 2; more++) answer.text(served, 0, { text: character });
  expect(gone).toEqual(["inference/slow-reader"]);
  await (await answer.response).body?.cancel().catch(() => {});
});

it("is closed once everything has been read", async () => {
  const { answer } = stream();
  answer.text(served, 0, { text: "hello" });
  finish(answer);
  const text = await (await answer.response).text();
  expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
  await expect.poll(() => answer.closed).toBe(true);
});

it("releases every byte that it counted, however it ends", async () => {
  for (const how of ["read", "left", "stalled", "full"] as const) {
    const { answer, reports } = stream(new Reports(how === "full" ? 1_000 : undefined));
    answer.text(served, 0, { text: "hello" });
    const response = await answer.response;
    if (how === "left") await response.body?.cancel();
    if (how === "full") answer.text(served, 0, { text: "y".repeat(1_000) });
    if (how === "stalled") answer.idle(Date.now() + LIMITS.readerStallMs + 1);
    if (how !== "read") await expect.poll(() => reports.closed).toBe(1);
    finish(answer);
    if (how === "read") await response.text();
    await expect.poll(() => reports.closed).toBe(1);
    expect([how, reports.unreadBytes, answer.closed]).toEqual([how, 0, true]);
    expect(reports.gone).toEqual(
      { read: [], left: ["inference/cancelled"], stalled: ["inference/slow-reader"], full: ["inference/slow-reader"] }[
        how
      ],
    );
  }
});

describe("a large whole answer", () => {
  const text = `${"\u{1f600}".repeat(LIMITS.answerPieceChars)}end`;

  it("arrives unchanged, piece by piece", async () => {
    const { answer, reports } = whole();
    answer.done([end(text)], usage);
    expect(answer.closed).toBe(false);
    const body = await (await answer.response).json<{ choices: { message: { content: string } }[] }>();
    expect(body.choices[0]?.message.content).toBe(text);
    await expect.poll(() => reports.closed).toBe(1);
  });

  it("is released when its client stops reading", async () => {
    const { answer, reports } = whole();
    answer.done([end(text)], usage);
    const response = await answer.response;
    answer.idle(Date.now() + LIMITS.readerStallMs + 1);
    expect([answer.closed, reports.closed, reports.gone]).toEqual([true, 1, []]);
    await expect(response.text()).rejects.toThrow();
  });

  it("of vectors is written vector by vector, and holds no text in between", async () => {
    const { answer, reports } = whole({ ...head, format: "embedding" });
    const vectors = Array.from({ length: 64 }, () => new Uint8Array(new Float32Array(8_192).fill(0.1).buffer));
    answer.done(
      [
        { ...end(), vectors: vectors.slice(0, 40) },
        { ...end(), vectors: vectors.slice(40) },
      ],
      usage,
    );
    const body = await (await answer.response).json<{ data: { index: number; embedding: number[] }[] }>();
    expect(body.data.map(({ index }) => index)).toEqual([...vectors.keys()]);
    expect(new Set(body.data.map(({ embedding }) => embedding.length))).toEqual(new Set([8_192]));
    await expect.poll(() => reports.closed).toBe(1);
  });
});

it.each<[what: string, roomBytes: number, gone: string[]]>([
  ["is held until the end", 10_000, []],
  ["ends the stream where there is no room", 600, ["inference/answer-room"]],
])("text that the end of a response repeats %s", async (_what, roomBytes, gone) => {
  const reports = new Reports();
  let kept = 0;
  const hold = (bytes: number) => {
    kept += bytes;
    return kept <= roomBytes;
  };
  const answer = new StreamedAnswer({ ...base, format: "responses" }, Date.now(), { ...reports.events, hold });
  for (let i = 0; i < 7; i++) if (reports.gone.length === 0) answer.text(served, 0, { text: "ä".repeat(50) });
  expect([reports.gone, kept]).toEqual([gone, 700]);
});
