import { utf8 } from "../../schema/crypto/bytes.ts";
import { sha256Hex } from "../../schema/crypto/hash.ts";
import type { RequestStatus } from "../../schema/wire/admin-requests.ts";
import type { WebhookPayload } from "../../schema/wire/webhook.ts";
import type { WebhookMessage } from "./webhook-rpc.ts";

/** Persisted contract: `WebhookOutbox` stores it. */
export interface WaitingRequest {
  /** The peer's atom id. */
  readonly peer: string;
  readonly requestId: string;
  readonly action: string;
  readonly status: Extract<RequestStatus, "pending" | "blocked">;
  readonly receivedAtMs: number;
  readonly expiresAtMs: number;
}

/** The message that a request of a peer's admin waits. Its id depends on the request alone, so a repeat is recognised. */
export async function requestWaits(request: WaitingRequest): Promise<WebhookMessage> {
  const { peer, requestId, status } = request;
  const type = status === "blocked" ? "admin_request.blocked" : "admin_request.received";
  return {
    // A hash, because the peer chose the request's id, which may contain full stops.
    id: `msg_${(await sha256Hex(utf8(`${type} ${peer} ${requestId}`))).slice(0, 32)}`,
    payload: {
      type,
      timestamp: new Date(request.receivedAtMs).toISOString(),
      data: {
        peer,
        request_id: requestId,
        action: request.action,
        status,
        expires_at: new Date(request.expiresAtMs).toISOString(),
      },
    },
  };
}

/** A message of our admin's test. Each has its own id. */
export function webhookTest(pool: string, nowMs: number): WebhookMessage {
  const payload: WebhookPayload = {
    type: "webhook.test",
    timestamp: new Date(nowMs).toISOString(),
    data: { pool },
  };
  return { id: `test_${crypto.randomUUID()}`, payload };
}
