import { type Context, Hono } from "hono";
import { createMiddleware } from "hono/factory";
import { chatProblem } from "../../schema/wire/chat-problem.ts";
import { chatApi, completionApi, embeddingApi } from "../../schema/wire/client-api.ts";
import { promptsOf, toChatRequest, toCompletionRequest, toEmbeddingRequest } from "../../schema/wire/client-request.ts";
import { completionProblem } from "../../schema/wire/completion-problem.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { countTokensApi, messagesApi } from "../../schema/wire/messages-api.ts";
import {
  countProblem,
  messagesProblem,
  toCountRequest,
  toMessagesRequest,
} from "../../schema/wire/messages-request.ts";
import { responsesApi } from "../../schema/wire/responses-api.ts";
import { responsesEcho, responsesProblem, toResponsesRequest } from "../../schema/wire/responses-request.ts";
import type { JobKind, JobRequest } from "../../schema/wire/worker-frames.ts";
import { accountForClients } from "../accounts/account-for.ts";
import type { LookupAdmission } from "../accounts/admission-rules.ts";
import type { Env } from "../env.ts";
import type { ClientEnv } from "../http/app-env.ts";
import { requireClientKey } from "../http/authentication.ts";
import { clientCors } from "../http/cors.ts";
import { fail } from "../http/errors.ts";
import { isRequestId, REQUEST_ID_HEADER } from "../http/request-id.ts";
import { RefusedKeys } from "../limits/refused-keys.ts";
import { allLanes, laneForClients } from "../workers/lane-for.ts";
import { admitted, clientBody, rateLimitHeaders } from "./client-body.ts";
import { type FoundJob, type JobName, LANE_JOBS_URL, type LaneJob } from "./lane-rpc.ts";
import { findEndedJob } from "./store.ts";

/** Refusals that this isolate remembers. */
const refusedLookups = new RefusedKeys<Extract<LookupAdmission, { ok: false }>>();
const MESSAGES_REQUEST_ID = "request-id";

/** Requests that need no worker have a rate limit of their own. */
const admittedLookup = createMiddleware<ClientEnv>(async (c, next) => {
  const { keyId, secretSha256 } = c.var.client;
  const refused = refusedLookups.find(keyId, Date.now());
  if (refused) return fail(c, refused.refusal.code, refused.refusal);
  const admission = await accountForClients(c.env, keyId).lookUp(secretSha256);
  if (admission.ok) return next();
  if (admission.code === "auth/invalid-key") return fail(c, admission.code);
  refusedLookups.remember(keyId, admission, Date.now());
  return fail(c, admission.code, admission);
});

/** Anthropic's SDK reads the request id from the header `request-id`. */
const messagesRequestId = createMiddleware<ClientEnv>(async (c, next) => {
  await next();
  // The answer of a lane has the header already.
  if (!c.res.headers.has(MESSAGES_REQUEST_ID)) c.header(MESSAGES_REQUEST_ID, c.var.requestId);
});

/**
 * The client API (docs/spec/inference.md#client-api). A route authenticates, validates, asks the key's `Account`, and
 * passes the job to the lane.
 */
export const clientApi = new Hono<ClientEnv>()
  .use("*", clientCors)
  // In Hono, `/models/*` also matches `/models`.
  .use("/models/*", requireClientKey, admittedLookup)
  .use("/chat/completions", requireClientKey)
  .use("/completions", requireClientKey)
  .use("/embeddings", requireClientKey)
  .use("/responses", requireClientKey)
  .use("/messages/*", messagesRequestId, requireClientKey)
  .use("/jobs/*", requireClientKey, admittedLookup)

  .get("/models", async (c) => c.json({ object: "list", data: await servedModels(c.env) }))

  .get("/models/:model{.+}", async (c) => {
    const models = await servedModels(c.env);
    const id = c.req.param("model");
    const model = id === "auto" ? anyOf(models) : models.find((served) => served.id === id);
    return model ? c.json(model) : fail(c, "inference/model-not-found");
  })

  .post("/chat/completions", async (c) => {
    const body = await clientBody(c, chatApi, chatProblem);
    if (body instanceof Response) return body;
    return infer(c, "chat", body.model, toChatRequest(body), {
      includeUsage: body.stream_options?.include_usage,
      ...choicesOf(body.n),
    });
  })

  .post("/completions", async (c) => {
    const body = await clientBody(c, completionApi, completionProblem);
    if (body instanceof Response) return body;
    const prompts = promptsOf(body);
    const request = toCompletionRequest(body);
    return infer(c, "completion", body.model, prompts.length > 1 ? { ...request, prompt: "" } : request, {
      includeUsage: body.stream_options?.include_usage,
      ...choicesOf(body.n),
      ...(prompts.length > 1 && { prompts }),
    });
  })

  .post("/embeddings", async (c) => {
    const body = await clientBody(c, embeddingApi);
    if (body instanceof Response) return body;
    const encodingFormat = body.encoding_format ?? "float";
    return infer(c, "embedding", body.model, toEmbeddingRequest(body), { encodingFormat });
  })

  .post("/responses", async (c) => {
    const body = await clientBody(c, responsesApi, responsesProblem);
    if (body instanceof Response) return body;
    const shape = { format: "responses", echo: responsesEcho(body) } as const;
    return infer(c, "chat", body.model, toResponsesRequest(body), shape);
  })

  .post("/messages", async (c) => {
    const body = await clientBody(c, messagesApi, messagesProblem);
    if (body instanceof Response) return body;
    return infer(c, "chat", body.model, toMessagesRequest(body), { format: "messages" });
  })

  .post("/messages/count_tokens", async (c) => {
    const body = await clientBody(c, countTokensApi, countProblem);
    if (body instanceof Response) return body;
    return infer(c, "chat", body.model, toCountRequest(body), { format: "token-count" });
  })

  .post("/jobs/:id/cancel", async (c) => {
    const { keyId } = c.var.client;
    const requestId = c.req.param("id");
    if (!isRequestId(requestId)) return fail(c, "inference/job-not-found");
    const jobId = /^(?:chatcmpl-|cmpl-|resp_|msg_)?([0-9a-f-]{36})$/.exec(requestId)?.[1] ?? null;
    // A lane remembers the latest jobs only. D1 has the others, by job id.
    const found =
      (await cancelJobs(c.env, { jobId, requestId }, keyId)) ??
      (jobId === null ? undefined : await findEndedJob(c.env.DB, jobId, keyId));
    if (!found) return fail(c, "inference/job-not-found");
    return c.json({ id: found.id, cancelled: found.state === "cancelled", state: found.state });
  });

/** A request runs in one lane, and its id does not say in which. */
async function cancelJobs(env: Env, name: JobName, keyId: string): Promise<FoundJob | null> {
  const found = await Promise.all(allLanes(env, laneForClients).map(({ lane }) => lane.cancelJobs(name, keyId)));
  return found.find((job) => job !== null) ?? null;
}

type Shape = Pick<LaneJob, "encodingFormat" | "format" | "echo" | "n" | "prompts"> & {
  includeUsage?: boolean | null | undefined;
};

const choicesOf = (n: number | null | undefined) => (n == null || n === 1 ? {} : { n });

async function infer(
  c: Context<ClientEnv>,
  kind: JobKind,
  model: string,
  request: JobRequest,
  { includeUsage, ...shape }: Shape,
): Promise<Response> {
  const { n = 1, prompts } = shape;
  const id = crypto.randomUUID();
  const moreIds = Array.from({ length: n * (prompts?.length ?? 1) - 1 }, () => crypto.randomUUID());
  const admission = await admitted(c, { slot: id, moreSlots: moreIds, stream: request.stream });
  if (admission instanceof Response) return admission;
  const { requestId } = c.var;
  const { keyId } = c.var.client;
  const isMessages = shape.format === "messages" || shape.format === "token-count";
  const headers = {
    ...rateLimitHeaders(admission.rateLimits),
    "x-ligand-job": id,
    [REQUEST_ID_HEADER]: requestId,
    ...(isMessages && { [MESSAGES_REQUEST_ID]: requestId }),
  };
  const job: LaneJob = {
    id,
    keyId,
    requestId,
    kind,
    model,
    request,
    includeUsage: includeUsage ?? false,
    headers,
    ...(moreIds.length > 0 && { moreIds }),
    ...shape,
  };
  // The runtime streams the answer from the lane to the client. No JavaScript here handles its chunks.
  return laneForClients(c.env, { model }).fetch(LANE_JOBS_URL, {
    method: "POST",
    body: JSON.stringify(job),
    signal: c.req.raw.signal,
  });
}

/** Describes the model `auto`: it does every kind that any model does. */
function anyOf(models: readonly ServedModel[]): ServedModel {
  return servedModel({ name: "auto", kinds: [...new Set(models.flatMap(({ kinds }) => kinds))] });
}

let cached: { untilMs: number; models: ServedModel[] } | null = null;

/** The served models, cached for a second, so that frequent requests cost the lane nothing. */
async function servedModels(env: Env): Promise<ServedModel[]> {
  const nowMs = Date.now();
  if (cached && Math.abs(cached.untilMs - nowMs) <= LIMITS.statusCacheMs && cached.untilMs > nowMs)
    return cached.models;
  const lanes = await Promise.all(allLanes(env, laneForClients).map(({ lane }) => lane.overview()));
  const models = lanes.flatMap((lane) => lane.models);
  cached = { untilMs: nowMs + LIMITS.statusCacheMs, models: models.map(servedModel) };
  return cached.models;
}

type ServedModel = ReturnType<typeof servedModel>;

function servedModel({ name, kinds }: { name: string; kinds: readonly JobKind[] }) {
  return { id: name, object: "model" as const, created: 0, owned_by: "ligand", kinds };
}
