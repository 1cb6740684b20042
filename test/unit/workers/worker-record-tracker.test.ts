import { expect, it } from "vitest";
import { WorkerRecords } from "../../../edge/workers/worker-record-tracker.ts";
import type { WorkerRow } from "../../../schema/db/workers.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const ROW: WorkerRow = {
  id: "w",
  publicKey: "k",
  tokenId: "t",
  agentVersion: "1",
  manifest: "{}",
  manifestSignature: "s",
  lastConnectedAtMs: 1_000,
};

it.each<[what: string, again: Partial<WorkerRow>, isNews: boolean]>([
  ["a reconnect alone", { lastConnectedAtMs: 2_000 }, false],
  ["the first after an hour", { lastConnectedAtMs: 1_000 + LIMITS.workerRecordMs }, true],
  ["a clock that stepped back far", { lastConnectedAtMs: 1_000 - LIMITS.workerRecordMs }, true],
  ["another manifest", { manifestSignature: "z" }, true],
  ["another agent version", { agentVersion: "2" }, true],
  ["another token", { tokenId: "u" }, true],
  ["another worker", { id: "x" }, true],
])("%s: news %j %s", (_what, again, isNews) => {
  const records = new WorkerRecords();
  expect(records.isNews(ROW)).toBe(true);
  expect(records.isNews({ ...ROW, ...again })).toBe(isNews);
});

it("compares with what was written, so that an hour also passes for a worker that reconnects each minute", () => {
  const records = new WorkerRecords();
  const written = Array.from({ length: 121 }, (_, minute) =>
    records.isNews({ ...ROW, lastConnectedAtMs: minute * 60_000 }),
  );
  expect(written.filter(Boolean)).toHaveLength(3);
});
