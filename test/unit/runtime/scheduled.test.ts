import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { AT_START } from "../../../schema/wire/scheduled.ts";
import { NetworkNotes } from "../../../scripts/runtime/network-notes.ts";
import { readPoolConfig } from "../../../scripts/runtime/pool-config.ts";
import { type Runtime, startRuntime } from "../../../scripts/runtime/supervised-runtime.ts";
import { temporaryFolder } from "../../temporary-folder.ts";

const WRANGLER_TOML = fileURLToPath(new URL("../../../wrangler.toml", import.meta.url));

let folder: string;
beforeAll(() => {
  folder = temporaryFolder();
});

describe("the cron triggers of wrangler.toml", () => {
  it("contain the trigger that the turns of peers need", async () => {
    const { crons } = await readPoolConfig(WRANGLER_TOML);
    expect(crons).toEqual([{ cron: "*/5 * * * *", everyMs: LIMITS.wakeMs }]);
  });

  it.each<[cron: string, everyMs: number | null]>([
    ["*/1 * * * *", 60_000],
    ["*/30 * * * *", 30 * 60_000],
    ["*/7 * * * *", null],
    ["*/0 * * * *", null],
    ["0 3 * * *", null],
    ["*/5 * * * MON", null],
  ])("the trigger %s becomes a timer, or is refused by name", async (cron, everyMs) => {
    const path = join(folder, "wrangler.toml");
    const database = '[[d1_databases]]\nbinding = "DB"\ndatabase_name = "a"\ndatabase_id = "a"\nmigrations_dir = "m"\n';
    writeFileSync(
      path,
      `name = "a"\nmain = "a.ts"\ncompatibility_date = "2026-11-01"\n[triggers]\ncrons = ["${cron}"]\n${database}`,
    );
    writeFileSync(join(folder, "a.ts"), "");
    const read = readPoolConfig(path);
    if (everyMs === null) await expect(read).rejects.toThrow(`cannot run the cron trigger "${cron}"`);
    else expect((await read).crons).toEqual([{ cron, everyMs }]);
  });
});

it("the runner calls the Worker's scheduled handler at its start, then at each trigger, until it is stopped", async () => {
  const lines: string[] = [];
  const worker = {
    name: "pool",
    modules: true as const,
    script: "export default { scheduled({ cron }) { console.log('called: ' + cron); } };",
    compatibilityDate: "2026-11-01",
  };
  const crons = [{ cron: "*/5 * * * *", everyMs: 20 }];
  const served = { name: worker.name, crons, notes: new NetworkNotes() };
  const recordFile = join(folder, "workerd.json");
  const runtime: Runtime = await startRuntime(folder, [worker], recordFile, (line) => lines.push(line), { served });
  const called = () => lines.flatMap((line) => /called: (.*)/.exec(line)?.[1] ?? []);
  await vi.waitFor(() => expect(called().length).toBeGreaterThan(3), { timeout: 20_000, interval: 20 });
  expect(called().filter((cron) => cron === AT_START)).toHaveLength(1);
  expect(new Set(called())).toEqual(new Set([AT_START, "*/5 * * * *"]));
  const cleared = vi.spyOn(globalThis, "clearInterval");
  await runtime.dispose();
  expect(cleared).toHaveBeenCalledTimes(1);
});
