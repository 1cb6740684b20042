import type { EmbeddingJob, GenerationJob } from "../engine.ts";
import type { Failure } from "./failure-rules.ts";

type Chat = Extract<GenerationJob, { kind: "chat" }>["request"];

/** The body of an OpenAI API request for a job, without the fields that this server has refused. */
export function generationBody(
  { kind, request }: GenerationJob,
  model: string,
  unsupportedFields: ReadonlySet<Failure["unsupportedField"]>,
): object {
  const { maxTokens, temperature, topP, seed, stop, topLogprobs: top } = request;
  const maxTokensField = unsupportedFields.has("max_tokens") ? "max_completion_tokens" : "max_tokens";
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
    ...(unsupportedFields.has("stream_options") ? {} : { stream_options: { include_usage: true } }),
  };
}

/** The body of an embeddings request for a job. */
export function embeddingBody({ request }: EmbeddingJob, model: string): object {
  const { input, dimensions } = request;
  return { model, input, encoding_format: "float", ...(dimensions === undefined ? {} : { dimensions }) };
}

function chatFields({ messages, responseFormat, tools, toolChoice, parallelToolCalls }: Chat): object {
  return {
    messages: messages.map(messageFields),
    ...(responseFormat === undefined ? {} : { response_format: formatFields(responseFormat) }),
    ...(tools === undefined ? {} : { tools: tools.map((tool) => ({ type: "function", function: tool })) }),
    ...(toolChoice === undefined ? {} : { tool_choice: choiceFields(toolChoice) }),
    ...(parallelToolCalls === undefined ? {} : { parallel_tool_calls: parallelToolCalls }),
  };
}

function messageFields(message: Chat["messages"][number]): object {
  if (message.role === "tool") return { role: "tool", content: message.content, tool_call_id: message.toolCallId };
  if (message.role !== "assistant" || message.toolCalls === undefined)
    return { role: message.role, content: message.content };
  const tool_calls = message.toolCalls.map(({ id, ...call }) => ({ id, type: "function", function: call }));
  return { role: "assistant", content: message.content === "" ? null : message.content, tool_calls };
}

function formatFields(responseFormat: NonNullable<Chat["responseFormat"]>): object {
  if (responseFormat.type === "json_object") return responseFormat;
  const { name = "answer", description, strict, schema } = responseFormat;
  const labels = { ...(description !== undefined && { description }), ...(strict !== undefined && { strict }) };
  return { type: "json_schema", json_schema: { name, ...labels, schema } };
}

function choiceFields(toolChoice: NonNullable<Chat["toolChoice"]>): unknown {
  return toolChoice === "required" ? toolChoice : { type: "function", function: { name: toolChoice.name } };
}
