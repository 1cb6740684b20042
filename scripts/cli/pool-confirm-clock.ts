import type { Command } from "../../worker-agent/cli/shared/command.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";

export const confirmClock: Command = {
  summary: "Say that the pool's clock is right, so that its event log goes on.",
  usage: "[--json]",
  help: [
    ...COMMON_HELP,
    "",
    "The log takes nothing while the clock of the pool's machine is more than 30 days past the last event, or is ahead of",
    "the time of at least two peers: what it wrote then, every peer would refuse. What is to be written waits. Look at",
    "the clock first (date), and set it if it is wrong; then nothing need be confirmed.",
  ],
  options: COMMON_OPTIONS,
  positionals: { min: 0, max: 0 },
  async run(values) {
    const clock = await admin(values).confirmClock();
    const now = new Date(clock.now_ms).toISOString();
    return print(
      values,
      clock,
      `The pool's clock, ${now}, is confirmed. What waited for its log is written within a minute.`,
    );
  },
};
