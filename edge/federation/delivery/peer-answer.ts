/** A call without an answer: our own policy prevented the call, or the peer could not be reached. */
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
 * Why a call failed, as far as the runtime reveals it to the Worker: an error code, or the reference under which the
 * runtime's log has the cause. Show it only to our admin (`codeOf`), because it reveals what listens at an address.
 */
export type CallFailure = "federation/silent" | "federation/no-connection" | { readonly reference: string };

export type PeerAnswer =
  | {
      readonly ok: true;
      readonly status: number;
      readonly body: unknown;
      readonly retryAfterSeconds: number | null;
      /**
       * By how much our clock is ahead of the answer's `Date` header, in ms; a lower bound. Null: the answer has no
       * usable date.
       */
      readonly aheadMs: number | null;
    }
  | NoAnswer;
