/**
 * Reads and checks the body of a client's request, and applies the limits of its key, before the request becomes a job.
 */
import type { Context } from "hono";
import { type BodyProblem, type ClientApi, parseClientBody } from "../../schema/wire/client-api.ts";
import type { ErrorCode } from "../../schema/wire/errors.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { accountForClients } from "../accounts/account-for.ts";
import type { AccountAdmission, AccountCharge } from "../accounts/account-rpc.ts";
import { type AdmissionRequest, agedBy, type RateLimits } from "../accounts/admission-rules.ts";
import { BodiesInFlight } from "../accounts/bodies-in-flight-tracker.ts";
import { BodyPace } from "../accounts/body-pace-tracker.ts";
import type { ClientEnv } from "../http/app-env.ts";
import { discardBody, parseBody, readBytes } from "../http/body.ts";
import { fail } from "../http/errors.ts";
import { RefusedKeys } from "../limits/refused-keys.ts";
import { pause } from "../limits/timeout.ts";

type Refusal = Extract<AccountAdmission, { ok: false }>;

/**
 * The state of this isolate, by key: keys whose requests are refused for now, bodies that are being read, the pace of
 * checks, and bodies that were not charged yet.
 */
const refusedKeys = new RefusedKeys<Refusal & { retryAfterSeconds: number }>();
const bodies = new BodiesInFlight(LIMITS.keyBodiesBytes);
const pace = new BodyPace();
const unpaid = new BodiesInFlight(LIMITS.keyUnpaidBodies);
const TOO_MANY_BODIES = "This key sends too many bytes of requests at once.";
/** Remember an invalid key only briefly, because an import may add it. */
const INVALID_KEY_SECONDS = 1;

/**
 * The checked body of a request, or the response that refuses it. A refused body costs its key one request, as an
 * accepted body does (`admitted` charges that one). If more than `LIMITS.keyUnpaidBodies` bodies of a key arrive
 * together, the further ones are charged before they are checked.
 */
export async function clientBody<T>(
  c: Context<ClientEnv>,
  api: ClientApi<T>,
  problemOf: (body: T) => BodyProblem | null = () => null,
): Promise<T | Response> {
  const { keyId } = c.var.client;
  const refused = refusedKeys.find(keyId, Date.now());
  if (refused) {
    await discardBody(c.req.raw);
    return refuse(c, refused.refusal, refused.ageSeconds);
  }
  const promised = Number(c.req.header("content-length") ?? LIMITS.clientBodyBytes);
  const done = bodies.begin(keyId, Math.min(promised, LIMITS.clientBodyBytes), Date.now());
  if (!done) {
    await discardBody(c.req.raw);
    return fail(c, "inference/rate-limited", { message: TOO_MANY_BODIES, retryAfterSeconds: 1 });
  }
  const reading = readBody(c, api, problemOf, done).finally(done);
  // Continue after the client has disconnected, so that it is charged too.
  afterClientLeaves(c, reading);
  return reading;
}

async function readBody<T>(
  c: Context<ClientEnv>,
  api: ClientApi<T>,
  problemOf: (body: T) => BodyProblem | null,
  done: () => void,
): Promise<T | Response> {
  const { keyId } = c.var.client;
  const read = await readBytes(c.req.raw, LIMITS.clientBodyBytes);
  if (!read.ok) {
    // These bytes are not kept, so they no longer count.
    done();
    const [charge] = await Promise.all([
      chargeBody(c),
      read.code === "http/body-too-large" ? discardBody(c.req.raw) : undefined,
    ]);
    return charge ?? fail(c, read.code, { message: read.message });
  }
  const waitMs = pace.waitMs(keyId, read.bytes.byteLength, Date.now());
  if (waitMs > 0) await pause(waitMs);
  // The key may have spent its rate while this body arrived or waited.
  const refused = refusedKeys.find(keyId, Date.now());
  if (refused) return refuse(c, refused.refusal, refused.ageSeconds);
  const charged = unpaid.begin(keyId, 1, Date.now());
  if (!charged) {
    const charge = await chargeBody(c);
    if (charge) return charge;
  }
  c.set("bodyPayment", charged ? { isPaid: false, charged } : { isPaid: true });
  const checked = checkedBody(api, problemOf, read.bytes);
  if (checked.ok) return checked.body;
  const charge = charged ? await chargeBody(c).finally(charged) : null;
  const { code, param, message, remedy } = checked.problem;
  return charge ?? fail(c, code, { param: param ?? undefined, message, remedy });
}

type Checked<T> = { ok: true; body: T } | { ok: false; problem: Problem };
type Problem = Omit<BodyProblem, "code" | "param"> & { code: ErrorCode; param?: string | null };

function checkedBody<T>(
  api: ClientApi<T>,
  problemOf: (body: T) => BodyProblem | null,
  bytes: Uint8Array | ArrayBuffer,
): Checked<T> {
  const json = parseBody(bytes);
  if (!json.ok) return { ok: false, problem: json };
  const parsed = parseClientBody(api, json.value);
  if (!parsed.ok) return { ok: false, problem: parsed };
  const problem = problemOf(parsed.body);
  return problem ? { ok: false, problem } : { ok: true, body: parsed.body };
}

/** Charges the key for a refused body. Returns the refusal if the key had no request left; otherwise null. */
async function chargeBody(c: Context<ClientEnv>): Promise<Response | null> {
  const { keyId, secretSha256 } = c.var.client;
  const charge: AccountCharge = await accountForClients(c.env, keyId).charge(secretSha256);
  if (!charge.ok) return refuse(c, remember(keyId, charge));
  // The next request would be refused, so its body need not be read.
  if (charge.next) remember(keyId, charge.next);
  return null;
}

/** Applies the limits of the key to a request whose body is valid. Its stream slots have the ids of its jobs. */
export async function admitted(
  c: Context<ClientEnv>,
  request: AdmissionRequest,
): Promise<{ rateLimits: RateLimits } | Response> {
  const { keyId, secretSha256 } = c.var.client;
  const payment = c.var.bodyPayment;
  const asking = Promise.resolve(
    accountForClients(c.env, keyId).admit({ secretSha256, ...request, ...(payment?.isPaid && { isPaid: true }) }),
  ).finally(() => payment?.isPaid === false && payment.charged());
  // Continue after the client has disconnected: its body was read and checked, so it is charged.
  afterClientLeaves(c, asking);
  const admission = await asking;
  return admission.ok ? admission : refuse(c, remember(keyId, admission));
}

/** Continues `work` to its end. The runtime would drop it when the client disconnects. */
function afterClientLeaves(c: Context<ClientEnv>, work: PromiseLike<unknown>): void {
  c.executionCtx.waitUntil(Promise.allSettled([work]));
}

function remember(keyId: string, refusal: Refusal): Refusal {
  if ("isForAll" in refusal && !refusal.isForAll) return refusal;
  const { retryAfterSeconds = INVALID_KEY_SECONDS } = "retryAfterSeconds" in refusal ? refusal : {};
  refusedKeys.remember(keyId, { ...refusal, retryAfterSeconds }, Date.now());
  return refusal;
}

function refuse(c: Context<ClientEnv>, refusal: Refusal, ageSeconds = 0): Response {
  if (!("rateLimits" in refusal)) return fail(c, refusal.code);
  const response = fail(c, refusal.code, refusal);
  for (const [name, value] of Object.entries(rateLimitHeaders(agedBy(refusal.rateLimits, ageSeconds)))) {
    response.headers.set(name, value);
  }
  return response;
}

/** The `x-ratelimit-*` headers of a response. */
export function rateLimitHeaders(limits: RateLimits): Record<string, string> {
  return Object.fromEntries(
    (["requests", "tokens"] as const).flatMap((kind) => [
      [`x-ratelimit-limit-${kind}`, String(limits[kind].limit)],
      [`x-ratelimit-remaining-${kind}`, String(limits[kind].remaining)],
      [`x-ratelimit-reset-${kind}`, `${limits[kind].resetSeconds.toFixed(3)}s`],
    ]),
  );
}
