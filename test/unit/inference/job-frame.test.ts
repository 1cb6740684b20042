import { expect, it } from "vitest";
import { jobFrame } from "../../../edge/inference/jobs/job-frame.ts";
import type { JobRequest } from "../../../schema/wire/worker-frames.ts";

const base = { id: "j", lease: 1, model: 'm"ü', kind: "chat" as const, deadlineMs: 1 };
const messages = [{ role: "user" as const, content: '漢字 and "more"' }];

it.each<[what: string, minor: number, request: JobRequest, sent: object]>([
  ["a chat", 2, { messages, stream: true }, { messages, stream: true }],
  ["a prompt", 2, { prompt: "ä", stream: false }, { prompt: "ä", stream: false }],
  ["inputs", 0, { input: ["a", "é"], stream: false }, { input: ["a", "é"], stream: false }],
  // An older worker gets less of the request, and may claim tokens of that part only.
  ["a chat of an older worker", 1, { messages, stream: true, topK: 5 }, { messages, stream: true }],
])("the size of a request is the bytes that its worker gets: %s", (_what, minor, request, sent) => {
  const { frame, requestBytes } = jobFrame({ ...base, minor, request });
  expect(JSON.parse(frame)).toEqual({
    ...{ type: "job", jobId: "j", lease: 1, model: base.model, kind: "chat", deadlineMs: 1 },
    request: sent,
  });
  expect(requestBytes).toBe(Buffer.byteLength(JSON.stringify(sent)));
});
