import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { calibrate, measureThreads } from "../../worker-agent/profile/calibration.ts";
import { chooseThreads, threadCandidates } from "../../worker-agent/profile/thread-rules.ts";
import { temporaryFolder } from "../temporary-folder.ts";

describe("the number of threads", () => {
  it.each<[cores: number, want: number[]]>([
    [1, [1]],
    [2, [1, 2]],
    [4, [2, 1, 4]],
    [6, [4, 2, 6, 1]],
    [16, [8, 4, 16, 2, 1]],
  ])("on %i cores is one of %j", (cores, want) => expect(threadCandidates(cores)).toEqual(want));

  it.each<[what: string, rates: [threads: number, tokensPerSecond: number][], want: number]>([
    [
      "the fastest number",
      [
        [1, 10],
        [2, 19],
        [4, 30],
      ],
      4,
    ],
    [
      "a smaller number if more threads are hardly faster",
      [
        [1, 100],
        [2, 104],
      ],
      1,
    ],
    [
      "one on the busy machine of docs/spec/engines.md#sequences-and-batching",
      [
        [2, 16],
        [1, 478],
      ],
      1,
    ],
    ["one if nothing could be measured", [], 1],
  ])("is %s", (_what, rates, want) => {
    expect(chooseThreads(rates.map(([threads, tokensPerSecond]) => ({ threads, tokensPerSecond })))).toBe(want);
  });

  it("stops measuring when the time is over, but measures at least once", async () => {
    let nowMs = 0;
    const slow = async () => {
      nowMs += 10_000;
      return 1;
    };
    expect(await measureThreads(16, slow, () => nowMs)).toEqual([{ threads: 8, tokensPerSecond: 1 }]);
  });

  it("is measured once per model and machine, and again on request", async () => {
    const path = join(temporaryFolder(), "calibration.json");
    const subject = { modelSha256: "f".repeat(64), cpu: "c", cores: 2, gpu: "cpu", agentVersion: "1" };
    let measured = 0;
    const measure = async (threads: number) => {
      measured++;
      return threads;
    };
    const one = { path, subject, measure, again: false, nowMs: Date.now };
    expect(await calibrate(one)).toMatchObject({ threads: 2, cached: false });
    expect(await calibrate(one)).toMatchObject({ threads: 2, cached: true });
    expect(measured).toBe(2);
    expect(await calibrate({ ...one, again: true })).toMatchObject({ cached: false });
    expect(await calibrate({ ...one, subject: { ...subject, cores: 1 } })).toMatchObject({ threads: 1, cached: false });
    expect(measured).toBe(5);
    expect(Object.keys(JSON.parse(await readFile(path, "utf8")).entries)).toHaveLength(2);

    await writeFile(path, "{ half a file");
    expect(await calibrate(one)).toMatchObject({ cached: false });
  });
});
