import { expect, it } from "vitest";
import { afterExit, eventLine } from "../../../scripts/runtime/agent-process.ts";
import { EXIT_CODES } from "../../../worker-agent/exit-codes.ts";

it.each<[what: string, code: number | null, want: ReturnType<typeof afterExit>]>([
  ["ended by itself", EXIT_CODES.drained, "restart"],
  ["failed", EXIT_CODES.failed, "restart"],
  ["killed by a signal", null, "restart"],
  ["ended in another way", 139, "restart"],
  ["token refused", EXIT_CODES["token-refused"], "new-invite"],
  ["token expired", EXIT_CODES["token-expired"], "new-invite"],
  ["token of another pool", EXIT_CODES["wrong-pool"], "new-invite"],
  ["wrong usage", EXIT_CODES.usage, "give-up"],
  ["agent too old", EXIT_CODES["protocol-too-old"], "give-up"],
])("after an agent that was connected and %s: %s", (_what, code, want) =>
  expect(afterExit({ code, stopped: undefined }, null)).toBe(want),
);

it.each<[stopped: string, early: number | null, want: ReturnType<typeof afterExit>]>([
  ["unreachable", null, "restart"],
  ["unreachable", 1, "restart"],
  ["unreachable", 3, "give-up"],
  ["wrong-pool", 1, "new-invite"],
])("exit code 6 is interpreted by its name: %s (early end number %s): %s", (stopped, early, want) =>
  expect(afterExit({ code: 6, stopped }, early)).toBe(want),
);

it.each<[what: string, code: number | null, early: number, want: ReturnType<typeof afterExit>]>([
  ["failed", EXIT_CODES.failed, 1, "give-up"],
  ["was killed by a signal", null, 1, "restart"],
  ["was killed by a signal again and again", null, 3, "give-up"],
  ["ended in another way", 139, 2, "restart"],
  ["has an old token", EXIT_CODES["token-refused"], 1, "new-invite"],
  ["is refused every token", EXIT_CODES["token-refused"], 3, "give-up"],
])("after an agent that never connected and %s (exit code %s), early end number %i: %s", (_what, code, early, want) =>
  expect(afterExit({ code, stopped: undefined }, early)).toBe(want),
);

it.each<[what: string, line: string, want: string | undefined]>([
  ["the message of an event", '{"event":"connected","message":"Connected."}', "Connected."],
  ["no event about a single job", '{"event":"job-done","message":"Job 1 done."}', undefined],
  ["no event about jobs that other workers do", '{"event":"jobs-elsewhere","message":"2 requests."}', undefined],
  ["a line that is not an event, unchanged", "Segmentation fault", "Segmentation fault"],
])("the runner's log shows %s", (_what, line, want) => expect(eventLine(line)).toBe(want));
