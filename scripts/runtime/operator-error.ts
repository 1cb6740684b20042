/** Something the person at the terminal can put right. The message says what happened and what to do; no stack is shown. */
export class OperatorError extends Error {
  override name = "OperatorError";
}
