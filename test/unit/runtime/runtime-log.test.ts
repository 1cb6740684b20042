import { expect, it } from "vitest";
import { isSchedulerNote } from "../../../scripts/runtime/supervised-runtime.ts";

it.each<[message: string, hidden: boolean]>([
  ["NOSENTRY SQLite alarm handler canceled with requestScheduledAlarm.; scheduledTime = 1795278227.381s;", true],
  ["NOSENTRY SQLite alarm overdue, running despite AlarmManager mismatch; scheduledTime = 1795278243.448s;", true],
  // What says that something was lost stays, whoever it is for.
  ["NOSENTRY database is malformed", false],
  ['{"event":"outbox-flush-failed","failures":1}', false],
  ['{"event":"x","said":"NOSENTRY SQLite alarm "}', false],
])("of what the runtime says, the scheduler's own notes are left out: %s", (message, hidden) =>
  expect(isSchedulerNote(message)).toBe(hidden),
);
