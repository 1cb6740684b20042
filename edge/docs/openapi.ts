/** The client API's document, OpenAPI 3.1, made from the shapes that the routes parse with (docs/spec/inference.md#client-api). */
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

/** Their parameters that have no effect are in the tables and not in the shapes. */
const APIS: Readonly<Partial<Record<keyof typeof SCHEMAS, Pick<ClientApi<unknown>, "parameters">>>> = {
  ChatCompletionRequest: chatApi,
  CompletionRequest: completionApi,
  EmbeddingRequest: embeddingApi,
  ResponsesRequest: responsesApi,
  MessagesRequest: messagesApi,
  CountTokensRequest: countTokensApi,
};

/** What any request with a key may meet, and what one may that asks a worker. */
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

/** What a request that is answered without a stream of text does not meet. */
const OF_TEXT: readonly ErrorCode[] = [
  "inference/too-many-streams",
  "inference/too-many-choices",
  "inference/answer-overlong",
];

const STREAM = [
  "With `stream: true` the answer is a server-sent event stream: a `data:` line a chunk and `data: [DONE]` at the end.",
  "Lines that begin with `:` are comments, each of one line: while the request waits (`: queued place=3`), who serves it at",
  "last, and one a second while nothing else is written. After the first byte an error is a `data:` line with the error's",
  "body, and no `[DONE]` follows.",
].join(" ");

const RESPONSES_STREAM = [
  "With `stream: true` the answer is a server-sent event stream of typed, numbered events in the order that the API",
  "publishes, without `[DONE]`. Comments are as in other streams. An error after the first byte is `response.failed`.",
].join(" ");
const MESSAGES_STREAM = [
  "With `stream: true` the answer is a server-sent event stream of typed events, from `message_start` to `message_stop`.",
  "`message_start` says `input_tokens: 0`, because the worker counts the prompt when it answers; `message_delta` has the",
  "number. An error after the first byte is an `error` event. An answer that `max_tokens` cut in a call ends with that",
  "call's block: do not run it, and ask again with a larger `max_tokens`.",
].join(" ");

const ref = (name: keyof typeof SCHEMAS): JsonSchema => ({ $ref: `#/components/schemas/${name}` });
const json = (name: keyof typeof SCHEMAS) => ({ "application/json": { schema: ref(name) } });
const header = (name: string) => ({ $ref: `#/components/headers/${name}` });
const HEADERS = Object.freeze({
  "x-request-id": "The request's own, or one that the pool made. It can be cancelled by it.",
  "x-ligand-job": "The job's id, for cancelling it.",
  "x-ligand-worker":
    "Who served it; of a whole answer of several choices, all who did. A stream that begins while it waits says this in a " +
    "comment, and names who began first.",
  "x-ligand-queue-ms": "How long it waited; of several choices, the longest wait.",
  "x-ligand-deterministic": "false where the worker's engine cannot promise the same answer for the same seed.",
  "x-ratelimit-limit-requests": "Requests a minute of this key.",
  "x-ratelimit-remaining-requests": "Requests left now.",
  "x-ratelimit-reset-requests": "Seconds until all are left again, with the unit: 1.000s.",
  "x-ratelimit-limit-tokens": "Tokens a minute of this key.",
  "x-ratelimit-remaining-tokens": "Tokens left now.",
  "x-ratelimit-reset-tokens": "Seconds until all are left again, with the unit: 1.000s.",
  "retry-after": "Seconds to wait.",
} as const);
const JOB_HEADERS = Object.fromEntries(
  Object.keys(HEADERS).flatMap((name) => (name === "retry-after" ? [] : [[name, header(name)]])),
);

type ErrorSchema = "Error" | "MessagesError";

/** The refusals of an operation, a response a status: which codes it may be, with an example of the first. */
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
  // OpenAPI 3.1 has no word for the items of a stream: an extension says what each `data:` line holds.
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
  `The answer. The status of a whole answer waits for the answer or its failure, for ${LIMITS.statusHoldSeconds} seconds ` +
  "unless the pool's operator changes that. An answer that takes longer begins with white space, which JSON allows, and " +
  "without the headers of who served it. A failure after that is an Error in the answer's place, under this status.";

function pathParameter(name: string, description: string) {
  return { name, in: "path", required: true, description, schema: { type: "string" } };
}

function paths(): ApiDocument["paths"] {
  const messages = [{ role: "user", content: "What is a pool?" }];
  return {
    "/v1/models": {
      get: {
        operationId: "listModels",
        summary: "The models that are served now",
        description: "Those of the workers that are connected, and what each can do.",
        tags: ["models"],
        responses: { 200: { description: "The models.", content: json("ModelList") }, ...refusals(OF_A_LOOKUP) },
      },
    },
    "/v1/models/{model}": {
      get: {
        operationId: "getModel",
        summary: "One model",
        description: "By its name, which may contain slashes.",
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
          summary: "The next message of a conversation",
          description: "Text, JSON by a schema, or calls of tools.",
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
          summary: "The continuation of a text",
          description: "Without a chat template.",
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
          summary: "Vectors of texts",
          description:
            "One vector for each text, normalised to length 1 (L2), so that a dot product is the cosine. The model auto is " +
            "always the same one here, whatever the load, because vectors of two models do not compare: the operator's " +
            "default, or the first by name. The answer says its name.",
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
            "Stateless: nothing is stored, so each request holds the whole conversation. SDKs that refer to stored items " +
            "do so unless they are told `store: false`.",
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
            "For its SDK and for coding agents. The key may be in x-api-key, which here goes before Authorization. A " +
            "last message of the assistant is continued, by workers with a model file of their own. Turns of one role in a row become one.",
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
          summary: "How many tokens a prompt has",
          description:
            "A worker of the model counts them, so this costs a request and no tokens. Only workers with a model file of " +
            "their own can count.",
        },
        "CountTokensRequest",
        { model: "auto", messages },
        { whole: "TokenCount", error: "MessagesError", codes: ["inference/cannot-count"] },
      ),
    },
    "/v1/jobs/{id}/cancel": {
      post: {
        operationId: "cancelJob",
        summary: "Cancels a request that still runs or waits",
        description:
          "With the key that made it, and with all of its answers. Cancelling again, or what has ended, changes nothing and says how it ended. Of " +
          "requests that were sent under one x-request-id all are cancelled, and the answer is about the last; by that " +
          "name the pool knows them for some thousands of requests more, by the job's id for as long as its record.",
        tags: ["inference"],
        parameters: [pathParameter("id", "From x-ligand-job, the id of an answer, or the request's x-request-id.")],
        responses: {
          200: { description: "How it ended.", content: json("Cancellation") },
          ...refusals([...OF_A_LOOKUP, "inference/job-not-found"]),
        },
      },
    },
    "/v1/workers/connect": {
      get: {
        operationId: "connectWorker",
        summary: "The workers' WebSocket",
        description: `For agents, with a worker token: subprotocols \`${WORKER_PROTOCOL.subprotocols.join("`, `")}\`.`,
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

/** Made at the first request for it: most isolates never show it. */
export function apiDocument(): ApiDocument {
  made ??= {
    openapi: "3.1.0",
    info: {
      title: "Ligand client API",
      version: "1",
      description:
        "A pool's API, which OpenAI's and Anthropic's official clients speak: they need its base URL and a key of the pool.",
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
