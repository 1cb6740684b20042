import { type Context, Hono } from "hono";
import {
  type BodyProblem,
  chatCompletionBody,
  chatProblem,
  completionBody,
  embeddingBody,
  parseClientBody,
  toChatRequest,
  toCompletionRequest,
  toEmbeddingRequest,
} from "../../schema/wire/client-api.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { JobKind, JobRequest } from "../../schema/wire/worker-frames.ts";
import type { ClientEnv } from "../http/app-env.ts";
import { requireClientKey } from "../http/authentication.ts";
import { readJson } from "../http/body.ts";
import { clientCors } from "../http/cors.ts";
import { fail } from "../http/errors.ts";
import { MAIN_LANE } from "../workers/lane-link.ts";
import type { RateLimits } from "./admission.ts";
import { LANE_JOBS_URL, type LaneJob } from "./lane-api.ts";
import { findEndedJob } from "./store.ts";

/** The OpenAI-compatible API (SPEC 5.1): authenticate, validate, ask the key's `Account`, hand to the lane. */
export const clientApi = new Hono<ClientEnv>()
  .use("*", clientCors)
  .use("/models", requireClientKey)
  .use("/models/*", requireClientKey)
  .use("/chat/completions", requireClientKey)
  .use("/completions", requireClientKey)
  .use("/embeddings", requireClientKey)
  .use("/jobs/*", requireClientKey)

  .get("/models", async (c) => {
    const models = await servedModels(c);
    return models ? c.json({ object: "list", data: models }) : fail(c, "auth/invalid-key");
  })

  .get("/models/:model{.+}", async (c) => {
    const models = await servedModels(c);
    if (!models) return fail(c, "auth/invalid-key");
    const id = c.req.param("model");
    const model = id === "auto" ? anyOf(models) : models.find((served) => served.id === id);
    return model ? c.json(model) : fail(c, "inference/model-not-found", { param: "model" });
  })

  .post("/chat/completions", async (c) => {
    const body = await clientBody(c, chatCompletionBody, chatProblem);
    if (body instanceof Response) return body;
    return infer(c, "chat", body.model, toChatRequest(body), { includeUsage: body.stream_options?.include_usage });
  })

  .post("/completions", async (c) => {
    const body = await clientBody(c, completionBody);
    if (body instanceof Response) return body;
    return infer(c, "completion", body.model, toCompletionRequest(body), {
      includeUsage: body.stream_options?.include_usage,
    });
  })

  .post("/embeddings", async (c) => {
    const body = await clientBody(c, embeddingBody);
    if (body instanceof Response) return body;
    const encodingFormat = body.encoding_format ?? "float";
    return infer(c, "embedding", body.model, toEmbeddingRequest(body), { encodingFormat });
  })

  .post("/jobs/:id/cancel", async (c) => {
    const { keyId, secretSha256 } = c.var.client;
    const id = /^(?:(?:chatcmpl|cmpl)-)?([0-9a-f-]{36})$/.exec(c.req.param("id"))?.[1];
    if (id === undefined) return fail(c, "inference/job-not-found");
    if (!(await c.env.ACCOUNT.getByName(keyId).isGood(secretSha256))) return fail(c, "auth/invalid-key");
    // What ended too long ago for the lane to remember, the record knows.
    const state =
      (await c.env.LANE.getByName(MAIN_LANE).cancelJob(id, keyId)) ?? (await findEndedJob(c.env.DB, id, keyId));
    return state ? c.json({ id, cancelled: state === "cancelled", state }) : fail(c, "inference/job-not-found");
  });

/** The body, or the refusal that names what is wrong with it. */
async function clientBody<T>(
  c: Context<ClientEnv>,
  schema: Parameters<typeof parseClientBody<T>>[0],
  problemOf: (body: T) => BodyProblem | null = () => null,
): Promise<T | Response> {
  const read = await readJson(c.req.raw, LIMITS.clientBodyBytes);
  if (!read.ok) return fail(c, read.code);
  const parsed = parseClientBody(schema, read.value);
  const refuse = ({ code, param, message }: BodyProblem) => fail(c, code, { param: param ?? undefined, message });
  if (!parsed.ok) return refuse(parsed);
  const problem = problemOf(parsed.body);
  return problem ? refuse(problem) : parsed.body;
}

async function infer(
  c: Context<ClientEnv>,
  kind: JobKind,
  model: string,
  request: JobRequest,
  { includeUsage = false, ...shape }: Pick<LaneJob, "encodingFormat"> & { includeUsage?: boolean | undefined },
): Promise<Response> {
  const { keyId, secretSha256 } = c.var.client;
  const id = crypto.randomUUID();
  const admission = await c.env.ACCOUNT.getByName(keyId).admit({ secretSha256, slot: id, stream: request.stream });
  if (!admission.ok) {
    if (admission.code === "auth/invalid-key") return fail(c, admission.code);
    const refusal = fail(c, admission.code, { retryAfterSeconds: admission.retryAfterSeconds });
    return withRateLimits(refusal, admission.rateLimits);
  }
  const job: LaneJob = { id, keyId, kind, model, request, includeUsage, ...shape };
  const answer = await c.env.LANE.getByName(MAIN_LANE).fetch(LANE_JOBS_URL, {
    method: "POST",
    body: JSON.stringify(job),
    signal: c.req.raw.signal,
  });
  // The answer's body goes from the lane to the client inside the runtime; no JavaScript touches a chunk of it here.
  const response = withRateLimits(new Response(answer.body, answer), admission.rateLimits);
  response.headers.set("x-ligand-job", id);
  return response;
}

function withRateLimits(response: Response, limits: RateLimits): Response {
  for (const kind of ["requests", "tokens"] as const) {
    response.headers.set(`x-ratelimit-limit-${kind}`, String(limits[kind].limit));
    response.headers.set(`x-ratelimit-remaining-${kind}`, String(limits[kind].remaining));
    response.headers.set(`x-ratelimit-reset-${kind}`, `${limits[kind].resetSeconds.toFixed(3)}s`);
  }
  return response;
}

/** What `auto` is to a client that looks it up: it picks among these. */
function anyOf(models: readonly ServedModel[]): ServedModel {
  return servedModel({ name: "auto", kinds: [...new Set(models.flatMap(({ kinds }) => kinds))] });
}

/** Null when the key has been revoked. */
async function servedModels(c: Context<ClientEnv>) {
  const { keyId, secretSha256 } = c.var.client;
  if (!(await c.env.ACCOUNT.getByName(keyId).isGood(secretSha256))) return null;
  const { models } = await c.env.LANE.getByName(MAIN_LANE).overview();
  return models.map(servedModel);
}

type ServedModel = ReturnType<typeof servedModel>;

function servedModel({ name, kinds }: { name: string; kinds: readonly JobKind[] }) {
  return { id: name, object: "model" as const, created: 0, owned_by: "ligand", kinds };
}
