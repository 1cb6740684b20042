import fc from "fast-check";
import { SIGNATURE_HEADERS } from "../../schema/crypto/request-signature.ts";
import type { EventContent } from "../../schema/crypto/signed-event.ts";
import { RECORD_ROWS } from "../../schema/db/record-rows.ts";
import * as adminApi from "../../schema/wire/admin-api.ts";
import { chatCompletionBody, completionBody, embeddingBody } from "../../schema/wire/client-api.ts";
import { ACCEPTED_ONLY, EVENTS } from "../../schema/wire/event-registry.ts";
import { pushBody, visibility } from "../../schema/wire/events.ts";
import * as federation from "../../schema/wire/federation.ts";
import { agentFrame, manifest } from "../../schema/wire/worker-frames.ts";
import { fromSchema } from "./from-schema.ts";
import { hostile, nearly } from "./json-text.ts";
import { ENDLESS_CHOICES, schemas } from "./schemas.ts";

/** The cases, generated from the wire schemas. */
export interface HttpCase {
  readonly method: string;
  readonly path: string;
  readonly body: Buffer | undefined;
  readonly how: How;
}
export type How = "valid" | "near" | "hostile";

/** A federated request from a bonded peer, a stranger with a key, or without a signature, with at most one wrong header. */
export interface PeerCase extends HttpCase {
  readonly by: "peer" | "stranger" | "nobody";
  readonly bent: { readonly header: string; readonly value: string } | null;
  /** The content of the event that replaces the placeholder in the body. */
  readonly content: Pick<EventContent, "type" | "visibility" | "payload"> | null;
}

export type AgentCase =
  /** A message on a socket before or after its proof. */
  | { readonly on: "stranger" | "worker"; readonly how: How; readonly message: Buffer; readonly binary: boolean }
  /** A correctly signed proof of this manifest. */
  | { readonly on: "proof"; readonly how: How; readonly manifest: string };

/** The model that a worker serves while bodies are fuzzed. */
export const FUZZ_MODEL = "fuzz";
/** Placeholders in a frame for the worker's job and its lease. */
export const OUR_JOB = '"@job"';
export const OUR_LEASE = '"@lease"';
export const OUR_MODEL = '"@model"';
/** Placeholders in a federated body for the signer's card, id and key, and for an event that it signs. */
export const OUR_CARD = '"@card"';
export const OUR_ID = '"@id"';
export const OUR_KEY = '"@key"';
export const OUR_EVENT = '"@event"';
/** Placeholder in a path for a known peer. */
export const OUR_PEER = "@peer";

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

/** Sets members that let the rest of the body take effect, in seven of eight cases. */
function mostly(values: fc.Arbitrary<unknown>, members: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<unknown> {
  return fc.tuple(values, fc.record(members), fc.nat(7)).map(([value, set, keep]) => {
    if (keep === 0 || typeof value !== "object" || value === null) return value;
    // Only if the schema already has this member.
    const known = Object.entries(set).filter(([name]) => Object.hasOwn(value, name));
    return { ...value, ...Object.fromEntries(known) };
  });
}

/** Places for a schema. */
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

/** Names in a path, escaped or not. */
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
  requests("POST", "/admin/api/peers", fromSchema(federation.addPeerBody)),
  requests("PUT", `/admin/api/peers/${OUR_PEER}/trust`, fromSchema(federation.trustBody)),
  requests("PATCH", "/admin/api/federation", fromSchema(federation.changeFederationPolicyBody)),
  paths("GET", (name) => `/admin/api/peers/${name}`),
  paths("DELETE", (name) => `/admin/api/peers/${name}`),
  paths("POST", (name) => `/admin/api/peers/${name}/follow-anew`),
  // Imported rows are read back too.
  fc
    .constantFrom("admins", "keys", "workers", "peers", "federation", "pool", "doctor")
    .map((name) => ({ method: "GET", path: `/admin/api/${name}`, how: "valid" as const, body: undefined })),
  ...Object.entries(RECORD_ROWS).map(([table, row]) =>
    requests(
      "POST",
      "/admin/api/import",
      fc.array(fromSchema(row), { maxLength: 2 }).map((rows) => ({ table, rows })),
    ),
  ),
);

const by = fc.constantFrom<PeerCase["by"][]>("peer", "peer", "peer", "peer", "peer", "stranger", "nobody");
const bent = fc.oneof(
  { arbitrary: fc.constant(null), weight: 8 },
  {
    arbitrary: fc.record({
      header: fc.constantFrom(...Object.values(SIGNATURE_HEADERS)),
      value: fc.oneof(
        fc.constantFrom("", "0", "1", "2", "-1", "9".repeat(400), "a,a", "0".repeat(64), "x".repeat(7_000)),
        fc.stringMatching(/^[\x21-\x7e]{1,90}$/),
      ),
    }),
    weight: 1,
  },
);
const content = fc.record({
  type: fc.oneof(fc.constantFrom(...Object.keys(EVENTS)), fc.constantFrom(...ACCEPTED_ONLY, "trust_granted", "x")),
  visibility: fc.constantFrom(...visibility.options),
  payload: fc.dictionary(fc.constantFrom("peer", "level", "a", "__proto__"), fc.jsonValue({ maxDepth: 3 }), {
    maxKeys: 3,
  }),
}) as fc.Arbitrary<NonNullable<PeerCase["content"]>>;

const federated = (cases: fc.Arbitrary<HttpCase>): fc.Arbitrary<PeerCase> =>
  fc.tuple(cases, by, bent, content).map(([each, by, bent, content]) => ({ ...each, by, bent, content }));

const queries = fc
  .tuple(
    fc.constantFrom(
      "/api/federation/events",
      "/api/federation/status",
      "/v1/federation/molecule",
      "/v1/federation/info",
    ),
    fc.dictionary(
      fc.constantFrom("audience", "since", "limit", "more"),
      fc.constantFrom("public", "peers", "all", "0", "1", "500", "501", "-1", "1e3", "", "9".repeat(30), "\u0000"),
    ),
  )
  .map(([path, query]) => {
    const text = new URLSearchParams(query).toString();
    return { method: "GET", path: text === "" ? path : `${path}?${text}`, how: "near" as const, body: undefined };
  });

const card = { card: fc.constant("@card") };
const event = fc.constant("@event");

export const peerCases: fc.Arbitrary<PeerCase> = fc.oneof(
  federated(requests("POST", "/api/federation/register", mostly(fromSchema(federation.registerBody), card))),
  federated(requests("POST", "/api/federation/register/confirm", mostly(fromSchema(federation.confirmBody), card))),
  federated(
    requests(
      "POST",
      "/api/federation/events",
      mostly(fromSchema(pushBody), {
        events: fc.array(fc.record({ event, ttl: fc.constantFrom(0, 1, 3, 2 ** 40) }), { minLength: 1, maxLength: 3 }),
      }),
    ),
  ),
  federated(
    requests(
      "POST",
      "/v1/federation/handshake",
      mostly(fromSchema(federation.handshakeBody), { atom_id: fc.constant("@id"), pubkey_hex: fc.constant("@key") }),
    ),
  ),
  federated(
    requests(
      "POST",
      "/v1/federation/verify",
      mostly(fromSchema(federation.verifyBody), { atom_id: fc.constant("@id") }),
    ),
  ),
  federated(queries),
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
