import { expect, it } from "vitest";
import { isSchedulerNote } from "../../../scripts/runtime/supervised-runtime.ts";

it.each<[message: string, hidden: boolean]>([
  ["NOSENTRY SQLite alarm handler canceled with requestScheduledAlarm.; scheduledTime = 1795278227.381s;", true],
  ["NOSENTRY SQLite alarm overdue, running despite AlarmManager mismatch; scheduledTime = 1795278243.448s;", true],
  // An entry about lost data must stay.
  ["NOSENTRY database is malformed", false],
  ['{"event":"outbox-flush-failed","failures":1}', false],
  ['{"event":"x","said":"NOSENTRY SQLite alarm "}', false],
])("notes of the alarm scheduler are hidden, other lines of the runtime are not: %s", (message, hidden) =>
  expect(isSchedulerNote(message)).toBe(hidden),
);
