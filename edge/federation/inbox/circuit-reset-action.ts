import type { Action } from "./action.ts";

/** Closes the circuits of workers and resets their quality scores. */
export const circuitReset: Action<"circuit_reset"> = {
  touchesEconomy: false,
  heedsSlashing: true,
  run: async () => ({ ok: false, error: "not built yet" }),
};
