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
