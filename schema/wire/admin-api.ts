import * as z from "zod";
import { poolName } from "./federation.ts";
import { LIMITS } from "./limits.ts";

/** Bodies of `/admin/api` (docs/spec/pool.md#command-line): what an operator's tools send. */
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

/** The bootstrap token's name stands for nobody else. */
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
