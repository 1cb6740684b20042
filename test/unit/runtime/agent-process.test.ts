import { expect, it } from "vitest";
import { AGENT_EXIT, afterExit, eventLine } from "../../../scripts/runtime/agent-process.ts";

it.each<[what: string, code: number | null, want: ReturnType<typeof afterExit>]>([
  ["ended by itself", AGENT_EXIT.drained, "restart"],
  ["failed", AGENT_EXIT.failed, "restart"],
  ["killed by a signal", null, "restart"],
  ["ended in another way", 139, "restart"],
  ["token refused", AGENT_EXIT["token-refused"], "new-invite"],
  ["token expired", AGENT_EXIT["token-expired"], "new-invite"],
  ["token of another pool", AGENT_EXIT["wrong-pool"], "new-invite"],
  ["wrong usage", AGENT_EXIT.usage, "give-up"],
  ["agent too old", AGENT_EXIT["protocol-too-old"], "give-up"],
])("an agent that was connected and %s: %s", (_what, code, want) =>
  expect(afterExit({ code, stopped: undefined }, null)).toBe(want),
);

it.each<[stopped: string, early: number | null, want: ReturnType<typeof afterExit>]>([
  ["unreachable", null, "restart"],
  ["unreachable", 1, "restart"],
  ["unreachable", 3, "give-up"],
  ["wrong-pool", 1, "new-invite"],
])("what exits with 6 is told apart by its name: %s (time %s): %s", (stopped, early, want) =>
  expect(afterExit({ code: 6, stopped }, early)).toBe(want),
);

it.each<[what: string, code: number | null, early: number, want: ReturnType<typeof afterExit>]>([
  ["failed", AGENT_EXIT.failed, 1, "give-up"],
  ["was killed by a signal", null, 1, "restart"],
  ["was killed by a signal again and again", null, 3, "give-up"],
  ["ended in another way", 139, 2, "restart"],
  ["has an old token", AGENT_EXIT["token-refused"], 1, "new-invite"],
  ["is refused every token", AGENT_EXIT["token-refused"], 3, "give-up"],
])("an agent that was never connected and %s (exit code %s), time %i: %s", (_what, code, early, want) =>
  expect(afterExit({ code, stopped: undefined }, early)).toBe(want),
);

it.each<[what: string, line: string, want: string | undefined]>([
  ["an event as its sentence", '{"event":"connected","message":"Connected."}', "Connected."],
  ["nothing of single jobs", '{"event":"job-done","message":"Job 1 done."}', undefined],
  ["nothing of others' jobs", '{"event":"jobs-elsewhere","message":"2 requests."}', undefined],
  ["what is no event as it is", "Segmentation fault", "Segmentation fault"],
])("the runner's log shows %s", (_what, line, want) => expect(eventLine(line)).toBe(want));
