/** Translates a validated body of a client into the request for a worker. */
import type { ChatCompletionBody, CompletionBody, EmbeddingBody, MessageBody } from "./client-api.ts";
import { NO_PARAMETERS, takesNoParameters } from "./json-schema/tool-parameters.ts";
import type { ChatRequest, CompletionRequest, EmbeddingRequest } from "./worker-frames.ts";

/** The chat request for a worker. */
export function toChatRequest(body: ChatCompletionBody): ChatRequest {
  return {
    messages: body.messages.map(toMessage),
    ...sampling(body, body.max_completion_tokens ?? body.max_tokens),
    ...responseFormatOf(body),
    ...toolsOf(body),
    ...(body.logprobs && { topLogprobs: body.top_logprobs ?? 0 }),
  };
}

const textOf = (given: MessageBody["content"]): string =>
  typeof given === "string" ? given : (given ?? []).map((part) => ("text" in part ? part.text : part.refusal)).join("");

function toMessage(given: MessageBody): ChatRequest["messages"][number] {
  const text = textOf(given.content);
  switch (given.role) {
    case "system":
    case "developer":
      return { role: "system", content: text };
    case "user":
      return { role: "user", content: text };
    case "assistant": {
      const calls = (given.tool_calls ?? []).map(({ id, function: called }) => ({ id, ...called }));
      // A refusal is text of the model, which OpenAI sends in another member.
      const content = given.content == null ? (given.refusal ?? "") : text;
      return { role: "assistant", content, ...(calls.length > 0 && { toolCalls: calls }) };
    }
    case "tool":
      return { role: "tool", content: text, toolCallId: given.tool_call_id };
    default:
      return given satisfies never;
  }
}

function responseFormatOf({ response_format: format }: ChatCompletionBody): Pick<ChatRequest, "responseFormat"> {
  if (!format || format.type === "text") return {};
  if (format.type === "json_object") return { responseFormat: { type: "json_object" } };
  const { name, description, schema, strict } = format.json_schema;
  const labels = { name, ...(description != null && { description }), ...(strict != null && { strict }) };
  return { responseFormat: { type: "json_schema", schema, ...labels } };
}

function toolsOf(body: ChatCompletionBody): Pick<ChatRequest, "tools" | "toolChoice" | "parallelToolCalls"> {
  const { tools, tool_choice: choice, parallel_tool_calls: parallel } = body;
  if (!tools?.length || choice === "none") return {};
  return {
    tools: tools.map(({ function: { name: called, description, parameters, strict } }) => ({
      name: called,
      ...(description != null && { description }),
      parameters: takesNoParameters(parameters) ? NO_PARAMETERS : (parameters ?? NO_PARAMETERS),
      ...(strict != null && { strict }),
    })),
    ...(choice === "required" && { toolChoice: choice }),
    ...(typeof choice === "object" && choice !== null && { toolChoice: { name: choice.function.name } }),
    ...(parallel === false && { parallelToolCalls: false }),
  };
}

/** A request with several prompts becomes one job for each prompt. */
export function promptsOf({ prompt }: Pick<CompletionBody, "prompt">): string[] {
  return typeof prompt === "string" ? [prompt] : prompt;
}

/** The request for one prompt: the first if there are several. */
export function toCompletionRequest(body: CompletionBody): CompletionRequest {
  return {
    prompt: promptsOf(body)[0] ?? "",
    ...sampling(body, body.max_tokens),
    ...(typeof body.logprobs === "number" && { topLogprobs: body.logprobs }),
  };
}

/** The embedding request for a worker. */
export function toEmbeddingRequest({ input, dimensions }: EmbeddingBody): EmbeddingRequest {
  const texts = typeof input === "string" ? [input] : input;
  return { input: texts, stream: false, ...(dimensions != null && { dimensions }) };
}

function sampling(body: ChatCompletionBody | CompletionBody, maxTokens: number | null | undefined) {
  const stop = typeof body.stop === "string" ? [body.stop] : body.stop;
  return {
    stream: body.stream ?? false,
    ...(maxTokens != null && { maxTokens }),
    ...(body.temperature != null && { temperature: body.temperature }),
    ...(body.top_p != null && { topP: body.top_p }),
    ...(body.seed != null && { seed: body.seed }),
    ...(stop && stop.length > 0 && { stop }),
  };
}
