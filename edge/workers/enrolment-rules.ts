/** Who may connect with a worker token. Pure. */
import type { WorkerTokenRow } from "../../schema/db/workers.ts";
import type { ErrorCode } from "../../schema/wire/errors.ts";

export type EnrolmentRefusal = Extract<ErrorCode, "workers/token-refused" | "workers/token-expired">;

export type Enrolment =
  | { ok: true; token: WorkerTokenRow }
  /** `reason`: for a worker that is told on an open socket. */
  | { ok: false; code: EnrolmentRefusal; reason: string };

const refused = (reason: string): Enrolment => ({ ok: false, code: "workers/token-refused", reason });

/** Before the worker has proved its key: is this token any good now? */
export function enrolment(token: WorkerTokenRow | undefined, secretSha256: string, nowMs: number): Enrolment {
  if (!token || token.secretSha256 !== secretSha256) return refused("token not known");
  if (token.revokedAtMs !== null) return refused("token revoked");
  if (token.expiresAtMs <= nowMs) return { ok: false, code: "workers/token-expired", reason: "token expired" };
  return { ok: true, token };
}

/** Once the worker has proved its key: a token belongs to the first worker id that uses it. */
export function binding(token: WorkerTokenRow, workerId: string): Enrolment {
  if (token.workerId !== null && token.workerId !== workerId) return refused("token belongs to another worker");
  return { ok: true, token: { ...token, workerId } };
}
