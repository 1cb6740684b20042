import type { AdminRequestRow } from "../../../schema/db/admin-requests.ts";
import type { RequestView } from "../../../schema/wire/admin-requests.ts";

/** A request as admins see it. */
export function viewOf(row: AdminRequestRow): RequestView {
  return {
    direction: row.direction,
    peer: row.peer,
    request_id: row.requestId,
    action: row.action,
    params: JSON.parse(row.params),
    status: row.status,
    created_at_ms: row.createdAtMs,
    expires_at_ms: row.expiresAtMs,
    decided_at_ms: row.decidedAtMs,
    admin: row.admin,
    error: row.error,
    email: row.email,
    note: row.note,
  };
}
