import { START } from "../../worker-agent/cli/shared/called-as.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { networkReason } from "../../worker-agent/network-error.ts";

/** The error for a pool that sent no answer, or whose TLS certificate is not trusted. */
export function noAnswer(url: string, error: unknown): OperatorError {
  const reason = networkReason(error);
  const remedy = reason.includes("ECONNREFUSED") ? ` Is it running? Start one with: ${START}` : "";
  return new OperatorError(`The pool at ${url} does not answer: ${reason}.${remedy}`);
}
