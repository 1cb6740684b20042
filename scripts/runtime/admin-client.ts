import * as z from "zod";
import { type BackupRow, exportHead, type poolSettings, type RecordTable, rowsPage } from "../../schema/wire/backup.ts";
import { type Audience, eventsPage, verifyPage } from "../../schema/wire/events.ts";
import {
  type FederationPolicy,
  federationPolicy,
  federationStatus,
  type GrantableLevel,
  peerDetails,
  peerList,
} from "../../schema/wire/federation.ts";
import { parseJson } from "../../schema/wire/json-text.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { noAnswer } from "./pool-unreachable.ts";

/** The admin API of a pool (`/admin/api`), as the command line and the runner use it. */

const TIMEOUT_MS = 15_000;
/** The pool calls the other one, up to three times. */
const MEETING_MS = 3 * LIMITS.peerCallMs + TIMEOUT_MS;

const pool = z.object({ atom_id: z.string(), name: z.string(), description: z.string() });
const createdKey = z.object({ id: z.string(), key: z.string() });
const key = z.object({
  id: z.string(),
  label: z.string().nullable(),
  requests_per_minute: z.number(),
  tokens_per_minute: z.number(),
  streams: z.number(),
  created_by: z.string(),
  created_at: z.string(),
  revoked_at: z.string().nullable(),
  requests: z.number(),
  prompt_tokens: z.number(),
  completion_tokens: z.number(),
});
const createdToken = z.object({ id: z.string(), token: z.string(), expires_at: z.string() });
const revoked = z.object({
  id: z.string(),
  revoked_at: z.string(),
  /** False: it holds, and the record in D1 follows. An older pool waits for the record. */
  recorded: z.boolean().default(true),
});
/** An older pool leaves alone what replaced the token, and says nothing of it. */
const revokedAdmin = revoked.extend({ revoked: z.array(z.string()).optional() });
const token = z.object({
  id: z.string(),
  label: z.string().nullable(),
  worker_id: z.string().nullable(),
  created_at: z.string(),
  expires_at: z.string(),
  revoked_at: z.string().nullable(),
  connected: z.boolean(),
});
const worker = z.object({
  worker_id: z.string(),
  token_id: z.string(),
  models: z.array(z.object({ name: z.string(), slots: z.number(), free: z.number(), active: z.number() })),
  agent_version: z.string(),
  connected_at: z.string(),
});
const namedAdmin = z.object({
  id: z.string(),
  name: z.string(),
  created_by: z.string(),
  created_at: z.string(),
  revoked_by: z.string().nullable(),
  revoked_at: z.string().nullable(),
});
const createdAdmin = namedAdmin.extend({ token: z.string() });
const logClock = z.object({
  refused: z.enum(["pool/clock-jumped", "pool/clock-ahead"]).nullable(),
  last_ms: z.number(),
  now_ms: z.number(),
  peers_ahead: z.array(z.string()),
});
const doctor = z.object({
  now_ms: z.number(),
  atom_id: z.string(),
  database: z.object({ ok: z.boolean(), ms: z.number(), migrations: z.array(z.string()).nullable() }),
  policy: z.object({ ok: z.boolean(), ms: z.number() }),
  lanes: z.array(
    z.object({
      name: z.string(),
      ok: z.boolean(),
      ms: z.number(),
      workers: z.number(),
      queued: z.number(),
      /** For jobs and their answers, by what it is: nothing when the lane is idle. */
      holds: z.record(z.string(), z.number()).nullable(),
    }),
  ),
  records: z.array(
    z.object({ of: z.string(), held: z.object({ waiting: z.number(), refused: z.number() }).nullable() }),
  ),
  unfollowable: z.array(z.string()).nullable(),
  /** Absent in the answer of an older pool. */
  origins: z
    .object({
      quota_bytes: z.number(),
      largest: z.array(z.object({ atom_id: z.string(), events: z.number(), bytes: z.number() })),
    })
    .nullish(),
  peers: z
    .array(
      z.object({
        atom_id: z.string(),
        name: z.string(),
        effective: z.number(),
        awaits_admin: z.number().nullable(),
        last_seen_ms: z.number().nullable(),
        circuit: z.enum(["closed", "open", "half-open"]),
        absent: z.object({ reason: z.enum(["off", "silent", "error"]), since_ms: z.number() }).nullable(),
        waiting_since_ms: z.number().nullable(),
      }),
    )
    .nullable(),
  untold: z.array(z.object({ of: z.string(), waiting: z.number().nullable() })),
  /** Null where the log does not answer; absent in the answer of an older pool. */
  log_clock: logClock.nullish(),
  allowed_hosts: z.array(z.string()),
  has_metrics_token: z.boolean(),
  runs_on: z.enum(["one-machine", "cloudflare"]),
});
const workers = z.object({ tokens: z.array(token), workers: z.array(worker) });

export type Workers = z.infer<typeof workers>;
export type PoolFindings = z.infer<typeof doctor>;
export type AdminToken = z.infer<typeof namedAdmin>;
export type ClientKey = z.infer<typeof key>;

export interface NewKey {
  label?: string | undefined;
  requests_per_minute?: number | undefined;
  tokens_per_minute?: number | undefined;
  streams?: number | undefined;
}
export interface NewToken {
  label?: string | undefined;
  expires_in_days?: number | undefined;
}

export type PoolChange = Partial<z.infer<typeof poolSettings>>;

export type AdminClient = ReturnType<typeof adminClient>;

export function adminClient(url: string, adminToken: string) {
  const call = async <T>(
    method: string,
    path: string,
    shape: z.ZodType<T>,
    body?: object,
    timeoutMs = TIMEOUT_MS,
  ): Promise<T> => {
    const answer = shape.safeParse(await request(url, adminToken, method, path, body, timeoutMs));
    if (answer.success) return answer.data;
    throw new OperatorError(`The pool at ${url} is of another version than this command. Bring both to the same one.`);
  };
  return {
    pool: () => call("GET", "/pool", pool),
    changePool: (settings: PoolChange) => call("PATCH", "/pool", pool, settings),
    exportHead: () => call("GET", "/export", exportHead),
    exportMetering: (after: number, until: number) =>
      call("GET", `/export/metering?after=${after}&until=${until}`, rowsPage),
    exportEvents: (after: number, until: number) =>
      call("GET", `/export/events?after=${after}&until=${until}`, rowsPage),
    importRows: (table: RecordTable, rows: BackupRow[]) =>
      call("POST", "/import", z.object({ rows: z.number() }), { table, rows }),
    newLog: (clockAnew = false) =>
      call("POST", "/new-log", z.object({ log_id: z.string(), before: z.string() }), {
        ...(clockAnew && { clock_anew: true }),
      }),
    confirmClock: () => call("POST", "/events/confirm-clock", logClock),
    doctor: () => call("GET", "/doctor", doctor),
    createKey: (options: NewKey) => call("POST", "/keys", createdKey, options),
    keys: async () => (await call("GET", "/keys", z.object({ keys: z.array(key) }))).keys,
    revokeKey: (id: string) => call("DELETE", `/keys/${encodeURIComponent(id)}`, revoked),
    createAdmin: (name: string) => call("POST", "/admins", createdAdmin, { name }),
    admins: async () => (await call("GET", "/admins", z.object({ admins: z.array(namedAdmin) }))).admins,
    rotateAdmin: (id: string) => call("POST", `/admins/${encodeURIComponent(id)}/rotate`, createdAdmin),
    revokeAdmin: (id: string) => call("DELETE", `/admins/${encodeURIComponent(id)}`, revokedAdmin),
    invite: (options: NewToken) => call("POST", "/workers/tokens", createdToken, options),
    workers: () => call("GET", "/workers", workers),
    events: (audience: Audience, limit: number) =>
      call("GET", `/events?audience=${audience}&limit=${limit}`, eventsPage),
    verifyEvents: (since: number) => call("GET", `/events/verify?since=${since}`, verifyPage),
    peers: async () => (await call("GET", "/peers", peerList)).peers,
    peer: (id: string) => call("GET", `/peers/${encodeURIComponent(id)}`, peerDetails),
    addPeer: (peer: { url: string; atom_id?: string | undefined }) =>
      call("POST", "/peers", peerDetails, peer, MEETING_MS),
    trustPeer: (id: string, level: GrantableLevel) =>
      call("PUT", `/peers/${encodeURIComponent(id)}/trust`, peerDetails, { level }),
    followPeerAnew: (id: string) => call("POST", `/peers/${encodeURIComponent(id)}/follow-anew`, peerDetails),
    removePeer: (id: string) =>
      call(
        "DELETE",
        `/peers/${encodeURIComponent(id)}`,
        z.object({ removed: z.literal(true), recorded: z.boolean().default(true) }),
      ),
    federation: () => call("GET", "/federation", federationStatus),
    changeFederation: async (change: Partial<FederationPolicy>) =>
      (await call("PATCH", "/federation", z.object({ policy: federationPolicy }), change)).policy,
    revokeToken: (id: string) => call("DELETE", `/workers/tokens/${encodeURIComponent(id)}`, revoked),
  };
}

async function request(
  url: string,
  adminToken: string,
  method: string,
  path: string,
  body: object | undefined,
  timeoutMs: number,
): Promise<unknown> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(`${url}/admin/api${path}`, {
      method,
      headers: { authorization: `Bearer ${adminToken}`, ...(body && { "content-type": "application/json" }) },
      ...(body && { body: JSON.stringify(body) }),
      // The admin token goes to the pool it belongs to and nowhere else.
      redirect: "error",
      signal: AbortSignal.timeout(timeoutMs),
    });
    text = await response.text();
  } catch (error) {
    throw noAnswer(url, error);
  }
  const code = response.headers.get("x-ligand-code") ?? undefined;
  if (response.status === 401) {
    throw new OperatorError(
      `The pool at ${url} refuses this admin token. Set LIGAND_ADMIN_TOKEN to the right one.`,
      code,
    );
  }
  const answer = parseJson(text);
  if (!response.ok) throw new OperatorError(refusal(answer) ?? `The pool at ${url} answered ${response.status}.`, code);
  if (answer === undefined) throw new OperatorError(`What answers at ${url} is not a Ligand pool.`);
  return answer;
}

const errorBody = z.object({ error: z.object({ message: z.string() }) });

function refusal(answer: unknown): string | undefined {
  return errorBody.safeParse(answer).data?.error.message;
}
