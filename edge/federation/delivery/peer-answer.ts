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
 * Why nothing came back, as far as the runtime tells the Worker: the code, or under which reference its own log has the
 * cause. For our admin's eyes (`codeOf`), never a peer's: it says what is at an address.
 */
export type CallFailure = "federation/silent" | "federation/no-connection" | { readonly reference: string };

export type PeerAnswer =
  | {
      readonly ok: true;
      readonly status: number;
      readonly body: unknown;
      readonly retryAfterSeconds: number | null;
      /** How far our clock is ahead of the answer's `Date`, at least; null where it does not say. */
      readonly aheadMs: number | null;
    }
  | NoAnswer;
