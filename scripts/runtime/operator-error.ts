import { networkReason } from "../../worker-agent/network-error.ts";

/** Something the person at the terminal can put right. The message says what happened and what to do; no stack is shown. */
export class OperatorError extends Error {
  override name = "OperatorError";
  /** For programs: the pool's own code where it was the pool that refused. */
  readonly code: string;

  constructor(message: string, code = "cli/failed") {
    super(message);
    this.code = code;
  }
}

/** Nothing came back from the pool, or not over a way that can be trusted. */
export function noAnswer(url: string, error: unknown): OperatorError {
  const reason = networkReason(error);
  const remedy = reason.includes("ECONNREFUSED") ? " Is it running? Start one with: npm start" : "";
  return new OperatorError(`The pool at ${url} does not answer: ${reason}.${remedy}`);
}
