import { type NetworkFailure, networkFailure } from "../../schema/wire/network-failure.ts";
import type { Env } from "../env.ts";

/** Why an outbound call got no answer. `reference`: only the runtime's log has the cause. */
export type CallError = "silent" | "no-connection" | { readonly reference: string };

/**
 * Recognises known error texts of workerd, which has no error codes. Null for other texts. The text itself contains names
 * and addresses, which no peer and no log may see.
 */
export function callErrorOf(error: unknown): CallError | null {
  if (!(error instanceof Error)) return null;
  if (error.name === "AbortError") return "silent";
  if (error.message === "Network connection lost.") return "no-connection";
  const reference = /^internal error; reference = ([a-z0-9]{24})$/.exec(error.message)?.[1];
  return reference === undefined ? null : { reference };
}

/**
 * Asks the runner of a pool on one machine for the cause of a failed call. Null if the cause is unknown. On Cloudflare
 * there is no runner.
 */
export async function networkFailureOf(
  { NETWORK_NOTES: notes }: Pick<Env, "NETWORK_NOTES">,
  reference: string,
): Promise<NetworkFailure | null> {
  const cause = await notes?.fetch(`http://runner/${reference}`).then((answer) => answer.text());
  return networkFailure.safeParse(cause).data ?? null;
}
