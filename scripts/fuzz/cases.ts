import fc from "fast-check";
import * as adminApi from "../../schema/wire/admin-api.ts";
import { chatCompletionBody, completionBody, embeddingBody } from "../../schema/wire/client-api.ts";
import { agentFrame, manifest } from "../../schema/wire/worker-frames.ts";
import { fromSchema } from "./from-schema.ts";
import { hostile, nearly } from "./json-text.ts";
import { ENDLESS_CHOICES, schemas } from "./schemas.ts";

/** What is sent, from what the schemas say. */
export interface HttpCase {
  readonly method: string;
  readonly path: string;
  readonly body: Buffer | undefined;
  readonly how: How;
}
export type How = "valid" | "near" | "hostile";

export type AgentCase =
  /** A message on a socket that has proved nothing yet, or on one that serves. */
  | { readonly on: "stranger" | "worker"; readonly how: How; readonly message: Buffer; readonly binary: boolean }
  /** A proof, honestly signed, of a manifest like this. */
  | { readonly on: "proof"; readonly how: How; readonly manifest: string };

/** The model that somebody serves while bodies are fuzzed. */
export const FUZZ_MODEL = "fuzz";
/** In a frame's text: the job that the fuzzed worker has, and its lease. */
export const OUR_JOB = '"@job"';
export const OUR_LEASE = '"@lease"';
export const OUR_MODEL = '"@model"';

type Ways = (values: fc.Arbitrary<unknown>) => fc.Arbitrary<{ how: How; message: Buffer }>;

const ways: Ways = (values) => {
  const valid = values.map((value) => Buffer.from(JSON.stringify(value)));
  const near = nearly(values).map((text) => Buffer.from(text));
  const as = (how: How, messages: fc.Arbitrary<Buffer>) => messages.map((message) => ({ how, message }));
  return fc.oneof(
    { arbitrary: as("valid", valid), weight: 3 },
    { arbitrary: as("near", near), weight: 6 },
    { arbitrary: as("hostile", hostile(values)), weight: 1 },
  );
};

/** Mostly with members that make the rest count; left as they are in one of eight. */
function mostly(values: fc.Arbitrary<unknown>, members: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<unknown> {
  return fc.tuple(values, fc.record(members), fc.nat(7)).map(([value, set, keep]) => {
    if (keep === 0 || typeof value !== "object" || value === null) return value;
    // Only what the schema itself had there.
    const known = Object.entries(set).filter(([name]) => Object.hasOwn(value, name));
    return { ...value, ...Object.fromEntries(known) };
  });
}

/** Where a schema may stand. */
const constrained = fc
  .tuple(fc.oneof(schemas, fc.constantFrom(...Object.values(ENDLESS_CHOICES))), fc.boolean())
  .map(([schema, asTool]) => ({
    model: FUZZ_MODEL,
    messages: [{ role: "user", content: "?" }],
    ...(asTool
      ? { tools: [{ type: "function", function: { name: "f", parameters: schema } }] }
      : { response_format: { type: "json_schema", json_schema: { name: "n", schema } } }),
  }));

const model = { model: fc.constantFrom(FUZZ_MODEL, FUZZ_MODEL, "auto") };

function requests(method: string, path: string, values: fc.Arbitrary<unknown>): fc.Arbitrary<HttpCase> {
  return ways(values).map(({ how, message: body }) => ({ method, path, how, body }));
}

/** Names in a path: escaped or not, of every kind. */
function paths(method: string, at: (name: string) => string): fc.Arbitrary<HttpCase> {
  const names = fc.oneof(
    fc.string({ unit: "binary", minLength: 1, maxLength: 60 }).map(encodeURIComponent),
    fc.constantFrom("%", "%zz", "%ff", "%00", "%2e%2e", "%2f", "..", "__proto__", "constructor", "x".repeat(8_000)),
    fc.uuid(),
    fc.uuid().map((id) => `chatcmpl-${id}`),
  );
  return names.map((name) => ({ method, path: at(name), how: "hostile" as const, body: undefined }));
}

export const clientCases: fc.Arbitrary<HttpCase> = fc.oneof(
  { arbitrary: requests("POST", "/v1/chat/completions", mostly(fromSchema(chatCompletionBody), model)), weight: 10 },
  { arbitrary: requests("POST", "/v1/chat/completions", constrained), weight: 2 },
  { arbitrary: requests("POST", "/v1/completions", mostly(fromSchema(completionBody), model)), weight: 5 },
  { arbitrary: requests("POST", "/v1/embeddings", mostly(fromSchema(embeddingBody), model)), weight: 5 },
  { arbitrary: paths("GET", (name) => `/v1/models/${name}`), weight: 1 },
  { arbitrary: paths("POST", (name) => `/v1/jobs/${name}/cancel`), weight: 1 },
);

export const adminCases: fc.Arbitrary<HttpCase> = fc.oneof(
  requests("POST", "/admin/api/keys", fromSchema(adminApi.createKeyBody)),
  requests("POST", "/admin/api/workers/tokens", fromSchema(adminApi.createWorkerTokenBody)),
  requests("POST", "/admin/api/admins", fromSchema(adminApi.createAdminTokenBody)),
  requests("PATCH", "/admin/api/pool", fromSchema(adminApi.changePoolBody)),
  paths("DELETE", (name) => `/admin/api/keys/${name}`),
  paths("DELETE", (name) => `/admin/api/workers/tokens/${name}`),
  paths("DELETE", (name) => `/admin/api/admins/${name}`),
  paths("POST", (name) => `/admin/api/admins/${name}/rotate`),
);

const frames = mostly(fromSchema(agentFrame), {
  jobId: fc.constant("@job"),
  lease: fc.constant("@lease"),
  seq: fc.constantFrom(0, 0, 0, 1),
  index: fc.constantFrom(0, 0, 1),
  received: fc.constant(0),
  slots: fc.constantFrom([], [{ model: "@model", free: 1 }], [{ model: "@model", free: 0 }]),
  toolCall: fc.constantFrom(undefined, undefined, { index: 0, id: "call", name: "a" }, { index: 0 }),
  toolCalls: fc.constantFrom(undefined, [{ id: "call", name: "a", arguments: "{}" }]),
  vector: fc.constantFrom("AAAAPwAAAD8=", "AAAAPwAAAD8=", "AAAAPw==", "AADAfw=="),
});

const messages = ways(frames);

export const agentCases: fc.Arbitrary<AgentCase> = fc.oneof(
  {
    arbitrary: fc
      .tuple(messages, fc.nat(15))
      .map(([message, n]) => ({ on: "worker" as const, ...message, binary: n === 0 })),
    weight: 12,
  },
  {
    arbitrary: fc
      .tuple(messages, fc.nat(15))
      .map(([message, n]) => ({ on: "stranger" as const, ...message, binary: n === 0 })),
    weight: 4,
  },
  {
    arbitrary: fc.oneof(
      fromSchema(manifest).map((value) => ({
        on: "proof" as const,
        how: "valid" as const,
        manifest: JSON.stringify(value),
      })),
      nearly(fromSchema(manifest)).map((text) => ({ on: "proof" as const, how: "near" as const, manifest: text })),
    ),
    weight: 2,
  },
);
