import type { RequestDetails, RequestView } from "../../schema/wire/admin-requests.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { printable, table } from "../../worker-agent/cli/shared/table.ts";
import { formatDuration } from "../../worker-agent/format-duration.ts";

/** How the command line shows requests between admins. Everything that a peer sent is printable text of one line. */

const SHORT_PEER_CHARS = 16;

export function requestsTable(requests: readonly RequestView[], nowMs: number, hints: Hints): string {
  const rows = requests.map((each) => [
    each.request_id,
    each.direction === "received" ? "from" : "to",
    each.peer.slice(0, SHORT_PEER_CHARS),
    each.action,
    each.status,
    formatAge(each, nowMs),
    printable(each.email),
  ]);
  const none = `There are no requests. To ask a peer's admin: ${hints.ligand("requests send PEER ACTION")}`;
  return table(["ID", "", "PEER", "ACTION", "STATUS", "TIME", "CLAIMED EMAIL"], rows, none);
}

/** How long the request still waits, or when it was decided. */
function formatAge({ status, expires_at_ms, created_at_ms, decided_at_ms }: RequestView, nowMs: number): string {
  const waits = status === "pending" || status === "blocked" || status === "sending";
  if (waits) return `expires in ${formatDuration(Math.max(0, expires_at_ms - nowMs))}`;
  return `${formatDuration(Math.max(0, nowMs - (decided_at_ms ?? created_at_ms)))} ago`;
}

/** One request with its result, and what the admin can do now. */
export function formatRequest(request: RequestDetails, hints: Hints): string {
  const { direction, peer, request_id, action, params, status, admin, error, email, note, result, callback } = request;
  const lines = [
    `Request ${request_id} ${direction === "received" ? "from the admin of" : "to the admin of"} ${peer}`,
    `${action} ${printable(JSON.stringify(params))}`,
    `status: ${status}`,
    `sent: ${new Date(request.created_at_ms).toISOString()}`,
    ...(email === null ? [] : [`claimed email: ${printable(email)} (anyone can claim it)`]),
    ...(admin === null ? [] : [`${direction === "received" ? "decided" : "sent"} by: ${printable(admin)}`]),
    ...(note === null ? [] : [`note: ${printable(note)}`]),
    ...(error === null ? [] : [`error: ${printable(error)}`]),
    ...(callback === null ? [] : [`callback: ${callback}`]),
    ...(result === null ? [] : ["result:", ...resultLines(result)]),
    ...next(request, hints),
  ];
  return lines.join("\n");
}

/** JSON text cannot control a terminal, except by characters that JSON does not escape. */
function resultLines(result: unknown): string[] {
  return JSON.stringify(result, null, 2).split("\n").map(printable);
}

function next({ direction, status, request_id, open_slashings }: RequestDetails, hints: Hints): string[] {
  if (direction === "sent") return [];
  const reject = `To reject it: ${hints.ligand(`requests reject ${request_id}`)}`;
  if (status === "pending") return [`To approve it: ${hints.ligand(`requests approve ${request_id}`)}`, reject];
  if (status !== "blocked") return [];
  const why =
    open_slashings > 0
      ? `It is blocked: ${open_slashings} slashing events are open. To override: ${hints.ligand(`requests approve ${request_id} --override-reason TEXT`)}`
      : `No slashing event is open any more. To approve it: ${hints.ligand(`requests approve ${request_id}`)}`;
  return [why, reject];
}
