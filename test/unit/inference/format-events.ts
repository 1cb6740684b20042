import type { AnswerHead } from "../../../edge/inference/formats/answer-format.ts";

export const HEAD: AnswerHead = {
  jobId: "j",
  requestId: "r",
  format: "chat",
  model: "m",
  createdSeconds: 7,
  includeUsage: false,
};

/** The events of a stream, read as the specification of server-sent events says: name and data. */
export function eventsIn(stream: string): { event: string; data: Record<string, unknown> }[] {
  const blocks = stream.split("\n\n");
  if (blocks.pop() !== "") throw new Error("a stream that ends within an event");
  return blocks.map((block) => {
    const [, event, data] = /^event: (\S+)\ndata: (.+)$/.exec(block) ?? [];
    if (event === undefined || data === undefined) throw new Error(`no event: ${block}`);
    return { event, data: JSON.parse(data) };
  });
}
