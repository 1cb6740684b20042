import { type CallbackBody, callbackBody } from "../../../schema/wire/admin-requests.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { RequestRecord } from "./request-rows.ts";

/** The part of a record that a callback tells. */
type Decided = Pick<RequestRecord, "requestId" | "status" | "result" | "error">;

/**
 * The callback for a decided request (docs/spec/federation.md#callbacks). `origin`: our atom id. A peer of version 1 knows no
 * `expired`: it hears `failed`, with words.
 */
export function callbackFor(
  { requestId, status, result, error }: Decided,
  origin: string,
  version: 1 | 2,
): CallbackBody {
  const final = callbackBody.shape.final_status.parse(status);
  const isUnknownThere = version === 1 && final === "expired";
  const hours = LIMITS.adminRequestMs / 3_600_000;
  const words = final === "expired" ? `The pool's admin did not decide within ${hours} hours.` : error;
  return {
    request_id: requestId,
    origin_pool_id: origin,
    final_status: isUnknownThere ? "failed" : final,
    execution_result: result === null ? null : JSON.parse(result),
    execution_error: words,
  };
}
