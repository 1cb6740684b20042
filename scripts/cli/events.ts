import type { Group } from "../../worker-agent/cli/shared/command.ts";
import { tail } from "./event-tail.ts";
import { verify } from "./event-verify.ts";

/** `ligand events …`: the pool's signed log. `audit` has the same two commands. */
export const events: Group = {
  summary: "Read the pool's signed event log: tail, verify.",
  commands: { tail, verify },
};
