import type { Command } from "../../worker-agent/cli/shared/command.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";

export const confirmClock: Command = {
  summary: "Confirm that the pool's clock is right, so that its event log resumes.",
  usage: "[--json]",
  help: [
    ...COMMON_HELP,
    "",
    "The log stops while the clock of the pool's machine is more than 30 days after the last event, or ahead of the time of",
    "at least two peers, because every peer would refuse such events. Pending events wait. First check the clock (date).",
    "If it is wrong, set it; then there is nothing to confirm.",
  ],
  options: COMMON_OPTIONS,
  positionals: { min: 0, max: 0 },
  async run(values) {
    const clock = await admin(values).confirmClock();
    const now = new Date(clock.now_ms).toISOString();
    return print(values, clock, `The pool's clock (${now}) is confirmed. Pending events are written within a minute.`);
  },
};
