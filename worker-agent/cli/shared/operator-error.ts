/** A problem that the person at the terminal can solve. The message says what happened and what to do. No stack is shown. */
export class OperatorError extends Error {
  override name = "OperatorError";
  /** For programs. It is the pool's own code when the pool refused. */
  readonly code: string;

  constructor(message: string, code = "cli/failed") {
    super(message);
    this.code = code;
  }
}
