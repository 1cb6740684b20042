import type { EmbeddingJob, GenerationJob } from "../engine.ts";
import type { Failure } from "./failure-rules.ts";

type Chat = Extract<GenerationJob, { kind: "chat" }>["request"];

/** Pure: a job as the OpenAI API asks it, without the fields that this server turned out not to know. */
export function generationBody(
  { kind, request }: GenerationJob,
  model: string,
  withoutFields: ReadonlySet<Failure["unknownField"]>,
): object {
  const { maxTokens, temperature, topP, seed, stop, topLogprobs: top } = request;
  const maxTokensField = withoutFields.has("max_tokens") ? "max_completion_tokens" : "max_tokens";
  return {
    model,
    ...(kind === "chat" ? chatFields(request) : { prompt: request.prompt }),
    ...(maxTokens === undefined ? {} : { [maxTokensField]: maxTokens }),
    ...(temperature === undefined ? {} : { temperature }),
    ...(top === undefined ? {} : kind === "chat" ? { logprobs: true, top_logprobs: top } : { logprobs: top }),
    ...(topP === undefined ? {} : { top_p: topP }),
    ...(seed === undefined ? {} : { seed }),
    ...(stop === undefined || stop.length === 0 ? {} : { stop }),
    stream: true,
    ...(withoutFields.has("stream_options") ? {} : { stream_options: { include_usage: true } }),
  };
}

export function embeddingBody({ request }: EmbeddingJob, model: string): object {
  const { input, dimensions } = request;
  return { model, input, encoding_format: "float", ...(dimensions === undefined ? {} : { dimensions }) };
}

function chatFields({ messages, responseFormat, tools, toolChoice, parallelToolCalls }: Chat): object {
  return {
    messages: messages.map(message),
    ...(responseFormat === undefined ? {} : { response_format: format(responseFormat) }),
    ...(tools === undefined ? {} : { tools: tools.map((tool) => ({ type: "function", function: tool })) }),
    ...(toolChoice === undefined ? {} : { tool_choice: choice(toolChoice) }),
    ...(parallelToolCalls === undefined ? {} : { parallel_tool_calls: parallelToolCalls }),
  };
}

function message(one: Chat["messages"][number]): object {
  if (one.role === "tool") return { role: "tool", content: one.content, tool_call_id: one.toolCallId };
  if (one.role !== "assistant" || one.toolCalls === undefined) return { role: one.role, content: one.content };
  const tool_calls = one.toolCalls.map(({ id, ...call }) => ({ id, type: "function", function: call }));
  return { role: "assistant", content: one.content === "" ? null : one.content, tool_calls };
}

function format(wanted: NonNullable<Chat["responseFormat"]>): object {
  if (wanted.type === "json_object") return wanted;
  const { name = "answer", description, strict, schema } = wanted;
  const said = { ...(description !== undefined && { description }), ...(strict !== undefined && { strict }) };
  return { type: "json_schema", json_schema: { name, ...said, schema } };
}

function choice(wanted: NonNullable<Chat["toolChoice"]>): unknown {
  return wanted === "required" ? wanted : { type: "function", function: { name: wanted.name } };
}
