import * as z from "zod";
import { poolName } from "./federation.ts";
import { LIMITS } from "./limits.ts";
import { webhookStatus } from "./webhook.ts";

/** Bodies of requests to `/admin/api` (docs/spec/pool.md#command-line), which an operator's tools send. */
const label = z.string().max(LIMITS.labelChars);

const keyLimits = {
  requests_per_minute: z.int().positive().max(LIMITS.keyMaxRequestsPerMinute).optional(),
  tokens_per_minute: z.int().positive().max(LIMITS.keyMaxTokensPerMinute).optional(),
  streams: z.int().positive().max(LIMITS.keyMaxStreams).optional(),
};

export const createKeyBody = z.strictObject({ label: label.default(""), ...keyLimits });

export const createWorkerTokenBody = z.strictObject({
  label: label.default(""),
  expires_in_days: z.number().positive().max(LIMITS.workerTokenMaxDays).default(LIMITS.workerTokenDays),
});

/** The name of the bootstrap token. No named token may have it. */
export const BOOTSTRAP_ADMIN = "admin";

export const adminName = z
  .string()
  .regex(/^[\p{L}\p{N}][\p{L}\p{N} ._@+-]*$/u)
  .max(LIMITS.labelChars)
  .refine((name) => name.toLowerCase() !== BOOTSTRAP_ADMIN);

export const createAdminTokenBody = z.strictObject({ name: adminName });

export const newLogBody = z.strictObject({ clock_anew: z.boolean().default(false) });

export const changePoolBody = z.strictObject({
  name: poolName.optional(),
  description: z.string().max(1_000).optional(),
  defaults: z.strictObject(keyLimits).optional(),
});

/**
 * Answers of `/admin/api`, as clients read them. Unknown members pass, because the pool may be newer than the client;
 * members that an older pool does not send are optional or have a default.
 */

export const poolAnswer = z.object({ atom_id: z.string(), name: z.string(), description: z.string() });

export const clientKey = z.object({
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

export const clientKeyList = z.object({ keys: z.array(clientKey) });

/** `key`: the secret, which is shown only here. */
export const createdKey = z.object({ id: z.string(), key: z.string() });

export const revoked = z.object({
  id: z.string(),
  revoked_at: z.string(),
  /** False: the revocation holds, and D1 does not have it yet. An older pool answers only after D1 has it. */
  recorded: z.boolean().default(true),
});

/** `revoked`: the tokens that were still good, this one or those that replaced it. An older pool revokes only this one. */
export const revokedAdmin = revoked.extend({ revoked: z.array(z.string()).optional() });

export const adminToken = z.object({
  id: z.string(),
  name: z.string(),
  created_by: z.string(),
  created_at: z.string(),
  revoked_by: z.string().nullable(),
  revoked_at: z.string().nullable(),
});

export const adminTokenList = z.object({ admins: z.array(adminToken) });

/** `token`: the secret, which is shown only here. */
export const createdAdminToken = adminToken.extend({ token: z.string() });

/** `token`: the secret, which is shown only here. */
export const createdWorkerToken = z.object({ id: z.string(), token: z.string(), expires_at: z.string() });

const workerToken = z.object({
  id: z.string(),
  label: z.string().nullable(),
  worker_id: z.string().nullable(),
  created_at: z.string(),
  expires_at: z.string(),
  revoked_at: z.string().nullable(),
  connected: z.boolean(),
});

const connectedWorker = z.object({
  worker_id: z.string(),
  token_id: z.string(),
  models: z.array(z.object({ name: z.string(), slots: z.number(), free: z.number(), active: z.number() })),
  agent_version: z.string(),
  connected_at: z.string(),
  /** Absent in the answer of an older pool. */
  banned: z.boolean().optional(),
});

export const workerList = z.object({ tokens: z.array(workerToken), workers: z.array(connectedWorker) });

// ---- Workers that failed, and banned ones (docs/spec/inference.md#circuits)

/** The worker need not be connected. */
const workerIdText = z.string().regex(/^[0-9a-f]{64}$/);
const banNote = z
  .string()
  .max(LIMITS.adminNoteChars)
  .refine((text) => text.isWellFormed());

export const banWorkerBody = z.strictObject({ note: banNote.optional() });
export const resetCircuitsBody = z.strictObject({ worker_id: workerIdText.optional() });

export const workerBan = z.object({
  worker_id: z.string(),
  banned_by: z.string(),
  banned_at_ms: z.number(),
  note: z.string().nullable(),
});
/** One worker at one model. Workers without a failure have no entry. */
const workerCircuit = z.object({
  worker_id: z.string(),
  model: z.string(),
  state: z.enum(["closed", "open", "half-open"]),
  failures: z.number(),
  opened_at_ms: z.number().nullable(),
  quality: z.number(),
});
export const workerCircuits = z.object({ circuits: z.array(workerCircuit), bans: z.array(workerBan) });
export const pardonedWorker = z.object({ worker_id: z.string(), pardoned: z.boolean() });
export const bannedWorker = z.object({ worker_id: z.string(), banned: z.literal(true) });
export const resetCircuits = z.object({ worker_id: z.string().nullable(), circuits: z.number(), scores: z.number() });

/** The log's clock beside the pool's. `refused`: why the log takes no events, or null. */
export const logClock = z.object({
  refused: z.enum(["pool/clock-jumped", "pool/clock-ahead"]).nullable(),
  last_ms: z.number(),
  now_ms: z.number(),
  peers_ahead: z.array(z.string()),
});

export const importedRows = z.object({ rows: z.number() });

export const newLog = z.object({ log_id: z.string(), before: z.string() });

export const removedPeer = z.object({ removed: z.literal(true), recorded: z.boolean().default(true) });

const heldRecords = z.object({ waiting: z.number(), refused: z.number() });

/** The findings that `pool doctor` explains. Null: the object that knows did not answer. */
export const doctorAnswer = z.object({
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
      /** Bytes and entries that the lane holds for jobs and answers, by kind. All are 0 in an idle lane. */
      holds: z.record(z.string(), z.number()).nullable(),
    }),
  ),
  /** Rows that wait for D1 or that D1 refused, by the object that holds them. */
  records: z.array(z.object({ of: z.string(), held: heldRecords.nullable() })),
  /** Peers whose logs this pool cannot follow. */
  unfollowable: z.array(z.string()).nullable(),
  /** The space in our log that events of other pools fill. Absent in the answer of an older pool. */
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
  /** Events that wait for the log, by the object that holds them. */
  untold: z.array(z.object({ of: z.string(), waiting: z.number().nullable() })),
  /** Absent in the answer of an older pool. */
  log_clock: logClock.nullish(),
  /** Null: the object does not answer. Absent in the answer of an older pool. */
  webhook: webhookStatus.nullish(),
  allowed_hosts: z.array(z.string()),
  has_metrics_token: z.boolean(),
  runs_on: z.enum(["one-machine", "cloudflare"]),
});

export type ClientKey = z.infer<typeof clientKey>;
export type AdminToken = z.infer<typeof adminToken>;
export type Workers = z.infer<typeof workerList>;
export type PoolFindings = z.infer<typeof doctorAnswer>;
