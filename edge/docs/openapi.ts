/** The client API's OpenAPI 3.1 document, generated from the schemas that the routes parse with (docs/spec/inference.md#client-api). */
import * as z from "zod";
import {
  cancelAnswer,
  chatAnswer,
  chatChunk,
  completionAnswer,
  embeddingAnswer,
  errorAnswer,
  modelAnswer,
  modelListAnswer,
} from "../../schema/wire/client-answers.ts";
import { type ClientApi, chatApi, completionApi, embeddingApi } from "../../schema/wire/client-api.ts";
import { ERRORS, type ErrorCode } from "../../schema/wire/errors.ts";
import { LIMITS, WORKER_PROTOCOL } from "../../schema/wire/limits.ts";
import {
  countTokensAnswer,
  messagesAnswer,
  messagesErrorAnswer,
  messagesEvent,
} from "../../schema/wire/messages-answers.ts";
import { countTokensApi, messagesApi } from "../../schema/wire/messages-api.ts";
import type { Members } from "../../schema/wire/parameter-table.ts";
import { responsesAnswer, responsesEvent } from "../../schema/wire/responses-answers.ts";
import { responsesApi } from "../../schema/wire/responses-api.ts";
import { errorBody, messagesErrorBody } from "../http/error-body.ts";

export interface JsonSchema {
  readonly [keyword: string]: unknown;
}

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

export interface ApiDocument {
  readonly openapi: "3.1.0";
  readonly info: { readonly title: string; readonly version: string; readonly description: string };
  readonly servers: readonly { readonly url: string }[];
  readonly security: readonly Record<string, readonly string[]>[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: Readonly<Record<string, Readonly<Record<string, object>>>>;
}

const SCHEMAS = {
  ChatCompletionRequest: chatApi.body,
  CompletionRequest: completionApi.body,
  EmbeddingRequest: embeddingApi.body,
  Model: modelAnswer,
  ModelList: modelListAnswer,
  ChatCompletion: chatAnswer,
  ChatCompletionChunk: chatChunk,
  Completion: completionAnswer,
  EmbeddingList: embeddingAnswer,
  Cancellation: cancelAnswer,
  ResponsesRequest: responsesApi.body,
  Response: responsesAnswer,
  ResponseEvent: responsesEvent,
  MessagesRequest: messagesApi.body,
  Message: messagesAnswer,
  MessageEvent: messagesEvent,
  CountTokensRequest: countTokensApi.body,
  TokenCount: countTokensAnswer,
  Error: errorAnswer,
  MessagesError: messagesErrorAnswer,
} as const;

/** The parameter tables, which also list parameters that are accepted without effect. The schemas do not. */
const APIS: Readonly<Partial<Record<keyof typeof SCHEMAS, Pick<ClientApi<unknown>, "parameters">>>> = {
  ChatCompletionRequest: chatApi,
  CompletionRequest: completionApi,
  EmbeddingRequest: embeddingApi,
  ResponsesRequest: responsesApi,
  MessagesRequest: messagesApi,
  CountTokensRequest: countTokensApi,
};

/** Errors by kind of operation: every request with a key, a lookup, a request with a body, a job for a worker. */
const OF_A_KEY: readonly ErrorCode[] = ["auth/missing-key", "auth/invalid-key", "http/unknown-host", "http/internal"];
const OF_A_LOOKUP: readonly ErrorCode[] = [...OF_A_KEY, "inference/rate-limited"];
const OF_A_BODY: readonly ErrorCode[] = [
  ...(["http/invalid-json", "http/invalid-body", "http/unknown-parameter", "http/unsupported-parameter"] as const),
  ...(["http/body-timeout", "http/body-too-large"] as const),
];
const OF_A_JOB: readonly ErrorCode[] = [
  ...OF_A_KEY,
  ...OF_A_BODY,
  ...(["inference/context-length-exceeded", "inference/unsupported-kind", "inference/model-not-found"] as const),
  ...(["inference/rate-limited", "inference/token-rate-limited", "inference/too-many-streams"] as const),
  ...(["inference/no-worker", "inference/queue-full", "inference/queue-timeout", "inference/job-timeout"] as const),
  ...(["inference/worker-busy", "inference/worker-lost", "inference/engine-failed", "inference/cancelled"] as const),
  ...(["inference/answer-overlong", "inference/answer-room", "inference/answer-too-large"] as const),
  "inference/too-many-choices",
];

/** Errors that only occur where the answer is text and may be streamed. */
const OF_TEXT: readonly ErrorCode[] = [
  "inference/too-many-streams",
  "inference/too-many-choices",
  "inference/answer-overlong",
];

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

const ref = (name: keyof typeof SCHEMAS): JsonSchema => ({ $ref: `#/components/schemas/${name}` });
const json = (name: keyof typeof SCHEMAS) => ({ "application/json": { schema: ref(name) } });
const header = (name: string) => ({ $ref: `#/components/headers/${name}` });
const HEADERS = Object.freeze({
  "x-request-id": "The request id: the client's, or one that the pool generated. A request can be cancelled by it.",
  "x-ligand-job": "The id of the job, by which it can be cancelled.",
  "x-ligand-worker":
    "The worker that served the request; all workers, for a whole answer with several choices. A stream that starts while " +
    "the request is queued names the first worker in a comment instead.",
  "x-ligand-queue-ms": "Time in the queue, in milliseconds; the longest, for several choices.",
  "x-ligand-deterministic": "`false` where the worker's engine does not guarantee the same answer for the same seed.",
  "x-ratelimit-limit-requests": "Requests per minute of this key.",
  "x-ratelimit-remaining-requests": "Remaining requests.",
  "x-ratelimit-reset-requests": "Seconds until the limit is fully restored, with the unit: 1.000s.",
  "x-ratelimit-limit-tokens": "Tokens per minute of this key.",
  "x-ratelimit-remaining-tokens": "Remaining tokens.",
  "x-ratelimit-reset-tokens": "Seconds until the limit is fully restored, with the unit: 1.000s.",
  "retry-after": "Seconds to wait.",
} as const);
const JOB_HEADERS = Object.fromEntries(
  Object.keys(HEADERS).flatMap((name) => (name === "retry-after" ? [] : [[name, header(name)]])),
);

type ErrorSchema = "Error" | "MessagesError";

/** The error responses of an operation: one for each status, with an example of each of its codes. */
function refusals(codes: readonly ErrorCode[], error: ErrorSchema = "Error"): Record<string, object> {
  const example = error === "Error" ? errorBody : (code: ErrorCode) => messagesErrorBody(code, {}, "req-1");
  const byStatus = Map.groupBy(codes, (code) => ERRORS[code].status);
  return Object.fromEntries(
    [...byStatus].map(([status, alike]) => [
      status,
      {
        description: alike.map((code) => `\`${ERRORS[code].openAiCode}\`: ${ERRORS[code].message}`).join("\n\n"),
        headers: {
          "x-request-id": header("x-request-id"),
          ...((status === 429 || status === 503) && { "retry-after": header("retry-after") }),
        },
        content: {
          "application/json": {
            schema: ref(error),
            examples: Object.fromEntries(alike.map((code) => [code.replace("/", "."), { value: example(code) }])),
          },
        },
      },
    ]),
  );
}

function inference(
  about: Pick<Operation, "operationId" | "summary" | "description">,
  body: keyof typeof SCHEMAS,
  example: object,
  answer: {
    whole: keyof typeof SCHEMAS;
    chunk?: keyof typeof SCHEMAS;
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

function paths(): ApiDocument["paths"] {
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

function schemas(): Record<string, object> {
  return Object.fromEntries(
    Object.entries(SCHEMAS).map(([name, schema]) => {
      const { $schema, ...described } = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
      const table = APIS[name as keyof typeof SCHEMAS]?.parameters;
      return [
        name,
        table ? { ...described, properties: { ...described.properties, ...withoutEffect(table) } } : described,
      ];
    }),
  );
}

function withoutEffect({ members }: Members): Record<string, JsonSchema> {
  return Object.fromEntries(
    Object.entries(members).flatMap(([name, { treatment, note = "", ...more }]) => {
      if (treatment === "hint") return [[name, { description: `Accepted without effect. ${note}` }]];
      return "values" in more ? [[name, { enum: [...more.values, null], description: note }]] : [];
    }),
  );
}

let made: ApiDocument | null = null;

/** Generated at the first request for it, because most isolates never need it. */
export function apiDocument(): ApiDocument {
  made ??= {
    openapi: "3.1.0",
    info: {
      title: "Ligand client API",
      version: "1",
      description:
        "The client API of a pool. OpenAI's and Anthropic's official clients work with it: set their base URL to the pool's, " +
        "and their key to a client key of the pool.",
    },
    servers: [{ url: "/" }],
    security: [{ clientKey: [] }, { clientKeyHeader: [] }],
    paths: paths(),
    components: {
      securitySchemes: {
        clientKey: { type: "http", scheme: "bearer", description: "A client key, lk_…, from the pool's operator." },
        clientKeyHeader: { type: "apiKey", in: "header", name: "x-api-key", description: "The same client key." },
        workerToken: { type: "http", scheme: "bearer", description: "A worker token, lw_…, from the pool's operator." },
      },
      headers: Object.fromEntries(
        Object.entries(HEADERS).map(([name, description]) => [name, { description, schema: { type: "string" } }]),
      ),
      schemas: schemas(),
    },
  };
  return made;
}
