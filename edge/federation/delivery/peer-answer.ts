/** A call without an answer: our own policy prevented it, or the peer could not be reached. */
export type NoAnswer = {
  readonly ok: false;
  readonly code:
    | "federation/disabled"
    | "federation/unreachable"
    | "federation/private-address"
    | "federation/legacy-off";
  readonly failure?: CallFailure;
};

/**
 * Why a call failed, as far as the runtime tells the Worker: a code, or the reference under which the runtime's log has
 * the cause. Only our admin may see it (`codeOf`), because it says what answers at an address.
 */
export type CallFailure = "federation/silent" | "federation/no-connection" | { readonly reference: string };

export type PeerAnswer =
  | {
      readonly ok: true;
      readonly status: number;
      readonly body: unknown;
      readonly retryAfterSeconds: number | null;
      /** How far our clock is ahead of the answer's `Date` header, at least. Null: the answer has none. */
      readonly aheadMs: number | null;
    }
  | NoAnswer;
