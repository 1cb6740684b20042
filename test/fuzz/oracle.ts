import { ERRORS, type ErrorCode } from "../../schema/wire/errors.ts";
import { CLOSE } from "../../schema/wire/limits.ts";
import type { Answer } from "./http.ts";
import type { Closed } from "./worker-socket.ts";

/** What is wrong with an answer; null if the pool may give it. */
export function wrongAnswer(answer: Answer, allowed: (code: ErrorCode) => boolean): string | null {
  const { status, headers, body } = answer;
  if (body.includes("node_modules") || /\n\s+at /.test(body)) return "a stack in the answer";
  if (status < 300) return wrongSuccess(answer);
  const parsed = parse(body);
  if (parsed === undefined) return `status ${status} without a JSON body`;
  const named = String(headers["x-ligand-code"]);
  if (!isErrorCode(named)) return `status ${status} with the code ${named}, which errors.ts does not have`;
  if (ERRORS[named].status !== status) return `${named} with status ${status}`;
  const wrong = wrongErrorBody(parsed, named);
  if (wrong !== null) return wrong;
  if (!allowed(named)) return `${named}, which this request may not cause`;
  if (status === 503 && headers["retry-after"] === undefined) return "503 without Retry-After";
  return null;
}

function wrongSuccess({ headers, body }: Answer): string | null {
  if (!String(headers["content-type"]).startsWith("text/event-stream")) {
    return parse(body) === undefined ? "a success that is not JSON" : null;
  }
  const data = body.split("\n").flatMap((line) => (line.startsWith("data: ") ? [line.slice(6)] : []));
  const events = data.filter((each) => each !== "[DONE]").map(parse);
  if (events.includes(undefined)) return "an event that is not JSON";
  if (data.at(-1) === "[DONE]") return null;
  return wrongErrorBody(events.at(-1), null) && "a stream that ends neither with [DONE] nor with an error";
}

function wrongErrorBody(parsed: unknown, code: ErrorCode | null): string | null {
  const error = typeof parsed === "object" && parsed !== null && "error" in parsed ? parsed.error : null;
  if (typeof error !== "object" || error === null) return "an error without a body of its own";
  const { message, type, code: openAiCode } = error as Record<string, unknown>;
  const known = Object.values(ERRORS).some((entry) => entry.openAiCode === openAiCode);
  if (!known || (code && ERRORS[code].openAiCode !== openAiCode)) return `the error code ${String(openAiCode)}`;
  return typeof message === "string" && typeof type === "string" ? null : "an error without message or type";
}

export const isErrorCode = (name: string): name is ErrorCode => Object.hasOwn(ERRORS, name);

/** The pool may close a worker's socket for its input, but never because of an internal error. */
export function wrongClose({ code, reason }: Closed): string | null {
  const ours: number[] = Object.values(CLOSE).filter((each) => each !== CLOSE.internal);
  // The WebSocket layer refuses invalid UTF-8 itself (RFC 6455 section 8.1), before the pool's code.
  return ours.includes(code) || code === 1007 ? null : `closed with ${code} ${reason}`;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
