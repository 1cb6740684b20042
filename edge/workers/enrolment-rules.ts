/** Decides which worker may connect with which token (docs/spec/workers.md#enrolment). */
import type { WorkerTokenRow } from "../../schema/db/workers.ts";
import type { ErrorCode } from "../../schema/wire/errors.ts";

export type EnrolmentRefusal = Extract<ErrorCode, "workers/token-refused" | "workers/token-expired">;

export type Enrolment =
  | { ok: true; token: WorkerTokenRow }
  /** `reason`: for the close frame, if the socket is open already. */
  | { ok: false; code: EnrolmentRefusal; reason: string };

const refused = (reason: string): Enrolment => ({ ok: false, code: "workers/token-refused", reason });

/** The check before the worker has proved its key: the token must be known, not revoked and not expired. */
export function enrolment(token: WorkerTokenRow | undefined, secretSha256: string, nowMs: number): Enrolment {
  if (!token || token.secretSha256 !== secretSha256) return refused("unknown token");
  if (token.revokedAtMs !== null) return refused("token revoked");
  if (token.expiresAtMs <= nowMs) return { ok: false, code: "workers/token-expired", reason: "token expired" };
  return { ok: true, token };
}

/** The check after the worker has proved its key. A token belongs to the first worker id that uses it. */
export function binding(token: WorkerTokenRow, workerId: string): Enrolment {
  if (token.workerId !== null && token.workerId !== workerId) return refused("token belongs to another worker");
  return { ok: true, token: { ...token, workerId } };
}
