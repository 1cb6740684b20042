/** The operations of the client API, for its OpenAPI document. */
import type { ErrorCode } from "../../schema/wire/errors.ts";
import { LIMITS, WORKER_PROTOCOL } from "../../schema/wire/limits.ts";
import { type ErrorSchema, OF_A_JOB, OF_A_LOOKUP, OF_TEXT, refusals } from "./api-errors.ts";
import { JOB_HEADERS } from "./api-headers.ts";
import { type JsonSchema, json, ref, type SchemaName } from "./api-schemas.ts";

export interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly description: string;
  readonly tags: readonly string[];
  readonly security?: readonly Record<string, readonly string[]>[];
  readonly parameters?: readonly object[];
  readonly requestBody?: {
    readonly required: true;
    readonly content: Record<string, { readonly schema: JsonSchema; readonly example: object }>;
  };
  readonly responses: Readonly<Record<string, object>>;
}

export type Paths = Readonly<Record<string, Readonly<Record<string, Operation>>>>;

const STREAM = [
  "With `stream: true` the answer is a server-sent event stream: one `data:` line for each chunk, and `data: [DONE]` at the",
  "end. Lines that begin with `:` are comments. They show the place in the queue (`: queued place=3`) and the worker that",
  "serves the request, and one is sent each second while the stream is otherwise idle. After the first byte, an error is a",
  "`data:` line with the error's body, and no `[DONE]` follows.",
].join(" ");

const RESPONSES_STREAM = [
  "With `stream: true` the answer is a server-sent event stream of typed, numbered events in the order that the API",
  "documents, without `[DONE]`. Comments are as in other streams. An error after the first byte is `response.failed`.",
].join(" ");
const MESSAGES_STREAM = [
  "With `stream: true` the answer is a server-sent event stream of typed events, from `message_start` to `message_stop`.",
  "`message_start` has `input_tokens: 0`, because the worker counts the prompt while it answers; `message_delta` has the",
  "number. An error after the first byte is an `error` event. If `max_tokens` cuts off a tool call, the answer ends with that",
  "incomplete call: do not run it; send the request again with a larger `max_tokens`.",
].join(" ");

function inference(
  about: Pick<Operation, "operationId" | "summary" | "description">,
  body: SchemaName,
  example: object,
  answer: {
    whole: SchemaName;
    chunk?: SchemaName;
    stream?: string;
    error?: ErrorSchema;
    codes?: readonly ErrorCode[];
  },
): Operation {
  // OpenAPI 3.1 cannot describe the items of a stream: an extension names the schema of each `data:` line.
  const stream = answer.chunk && {
    "text/event-stream": { schema: { type: "string" }, "x-event-schema": ref(answer.chunk) },
  };
  const codes = answer.chunk ? OF_A_JOB : OF_A_JOB.filter((code) => !OF_TEXT.includes(code));
  return {
    ...about,
    description: answer.chunk ? `${about.description} ${answer.stream ?? STREAM}` : about.description,
    tags: ["inference"],
    requestBody: { required: true, content: { "application/json": { schema: ref(body), example } } },
    responses: {
      200: { description: LATE_ANSWER, headers: JOB_HEADERS, content: { ...json(answer.whole), ...stream } },
      ...refusals([...codes, ...(answer.codes ?? [])], answer.error),
    },
  };
}

const LATE_ANSWER =
  `The answer. The pool delays the status of a whole answer until the answer is complete or fails, at most ` +
  `${LIMITS.statusHoldSeconds} seconds unless the operator sets another limit. An answer that takes longer begins with ` +
  "white space, which JSON allows, and lacks the headers about the worker. If it fails after that, the body is an Error, " +
  "under this status.";

function pathParameter(name: string, description: string) {
  return { name, in: "path", required: true, description, schema: { type: "string" } };
}

/** The `paths` member of the OpenAPI document. */
export function paths(): Paths {
  const messages = [{ role: "user", content: "What is a pool?" }];
  return {
    "/v1/models": {
      get: {
        operationId: "listModels",
        summary: "Lists the available models",
        description: "The models of all connected workers, with the capabilities of each.",
        tags: ["models"],
        responses: { 200: { description: "The models.", content: json("ModelList") }, ...refusals(OF_A_LOOKUP) },
      },
    },
    "/v1/models/{model}": {
      get: {
        operationId: "getModel",
        summary: "Describes one model",
        description: "The name may contain slashes.",
        tags: ["models"],
        parameters: [pathParameter("model", "The model's name.")],
        responses: {
          200: { description: "The model.", content: json("Model") },
          ...refusals([...OF_A_LOOKUP, "inference/model-not-found"]),
        },
      },
    },
    "/v1/chat/completions": {
      post: inference(
        {
          operationId: "createChatCompletion",
          summary: "Continues a conversation",
          description: "The answer is text, JSON that follows a schema, or tool calls.",
        },
        "ChatCompletionRequest",
        { model: "auto", messages, stream: true },
        { whole: "ChatCompletion", chunk: "ChatCompletionChunk" },
      ),
    },
    "/v1/completions": {
      post: inference(
        {
          operationId: "createCompletion",
          summary: "Continues a text",
          description: "The prompt is used as it is, without a chat template.",
        },
        "CompletionRequest",
        { model: "auto", prompt: "A pool is", max_tokens: 32 },
        { whole: "Completion", chunk: "Completion" },
      ),
    },
    "/v1/embeddings": {
      post: inference(
        {
          operationId: "createEmbeddings",
          summary: "Computes embedding vectors",
          description:
            "One vector for each text, normalised to length 1 (L2), so that the dot product of two vectors is their cosine. " +
            "Vectors of different models cannot be compared, so the model auto is always the same model here: the operator's " +
            "default, or else the first by name. The answer contains its name.",
        },
        "EmbeddingRequest",
        { model: "auto", input: ["What is a pool?"] },
        { whole: "EmbeddingList" },
      ),
    },
    "/v1/responses": {
      post: inference(
        {
          operationId: "createResponse",
          summary: "OpenAI's Responses API",
          description:
            "The pool stores nothing, so each request must contain the whole conversation. Some SDKs refer to stored items " +
            "unless the request has `store: false`.",
        },
        "ResponsesRequest",
        { model: "auto", input: "What is a pool?", store: false },
        {
          whole: "Response",
          chunk: "ResponseEvent",
          stream: RESPONSES_STREAM,
          codes: ["inference/answer-too-long"],
        },
      ),
    },
    "/v1/messages": {
      post: inference(
        {
          operationId: "createMessage",
          summary: "Anthropic's Messages API",
          description:
            "For Anthropic's SDK and for coding agents. The key may be in x-api-key, which takes precedence over " +
            "Authorization here. If the last message is from the assistant, the answer continues it; only workers with a " +
            "model file of their own can do that. Consecutive messages of one role are joined.",
        },
        "MessagesRequest",
        { model: "auto", max_tokens: 256, messages },
        { whole: "Message", chunk: "MessageEvent", stream: MESSAGES_STREAM, error: "MessagesError" },
      ),
    },
    "/v1/messages/count_tokens": {
      post: inference(
        {
          operationId: "countTokens",
          summary: "Counts the tokens of a prompt",
          description:
            "A worker that serves the model counts them. This counts as one request and as no tokens. Only workers with a " +
            "model file of their own can count.",
        },
        "CountTokensRequest",
        { model: "auto", messages },
        { whole: "TokenCount", error: "MessagesError", codes: ["inference/cannot-count"] },
      ),
    },
    "/v1/jobs/{id}/cancel": {
      post: {
        operationId: "cancelJob",
        summary: "Cancels a queued or running request",
        description:
          "Use the key that sent the request. All of the request's answers are cancelled. Cancelling a request that has " +
          "ended changes nothing, and returns its final state. Several requests may share one x-request-id: all of them are " +
          "cancelled, and the answer describes the newest. The pool remembers an x-request-id for some thousands of later " +
          "requests, and a job's id as long as the job's record.",
        tags: ["inference"],
        parameters: [
          pathParameter("id", "The value of x-ligand-job, the id in an answer, or the request's x-request-id."),
        ],
        responses: {
          200: { description: "The final state of the request.", content: json("Cancellation") },
          ...refusals([...OF_A_LOOKUP, "inference/job-not-found"]),
        },
      },
    },
    "/v1/workers/connect": {
      get: {
        operationId: "connectWorker",
        summary: "Opens a worker's WebSocket",
        description: `For the worker agent, which sends a worker token. Subprotocols: \`${WORKER_PROTOCOL.subprotocols.join("`, `")}\`.`,
        tags: ["workers"],
        security: [{ workerToken: [] }],
        responses: {
          101: { description: "The socket is open." },
          ...refusals(["workers/token-refused", "http/unknown-host", "http/upgrade-required", "workers/too-many"]),
        },
      },
    },
  };
}
