import { readdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { lockState, refusal } from "../../../scripts/runtime/state-lock.ts";
import { type Claim, type OwnerState, ownerState } from "../../../worker-agent/state/folder-lock.ts";
import { pidSpace, processIdentity } from "../../../worker-agent/state/processes.ts";
import { temporaryFolder } from "../../temporary-folder.ts";

const claim: Claim = {
  pid: 4711,
  identity: "boot/100",
  space: "host/pid:[1]",
  command: "node scripts/start.ts",
  since: "2026-01-02T03:04:05.000Z",
  url: "http://127.0.0.1:8787",
  state: "holding",
};

describe("whether the runner of a claim is alive:", () => {
  it.each<[what: string, space: string, identityNow: string | undefined, fileAgeMs: number, want: OwnerState]>([
    ["its pid has the same start time", "host/pid:[1]", "boot/100", 0, "alive"],
    ["an old file does not matter if the pid has the same start time", "host/pid:[1]", "boot/100", 1e9, "alive"],
    ["no process has its pid", "host/pid:[1]", undefined, 0, "ended"],
    ["another process has its pid", "host/pid:[1]", "boot/200", 0, "ended"],
    ["the machine was rebooted", "host/pid:[1]", "other-boot/100", 0, "ended"],
    ["another container touched the file recently", "host/pid:[2]", undefined, 29_999, "elsewhere"],
    ["an equal pid in another container does not count", "host/pid:[2]", "boot/100", 30_000, "ended"],
  ])("%s", (_what, space, identityNow, fileAgeMs, want) =>
    expect(ownerState(claim, { space, identityNow, fileAgeMs })).toBe(want),
  );

  it("a refused start gets the pid, time and URL of the runner", () => {
    const sentence = refusal("/srv/pool", claim, "alive");
    expect(sentence).toContain("/srv/pool is in use by a pool runner: pid 4711, since 2026-01-02T03:04:05.000Z");
    expect(sentence).toContain("at http://127.0.0.1:8787");
    expect(refusal("/srv/pool", { ...claim, url: null }, "elsewhere")).toContain("pid 4711 on host, since");
  });
});

describe("the lock on a folder", () => {
  let stateDir: string;
  beforeEach(() => {
    stateDir = temporaryFolder();
  });

  it("is refused while it is held, names the holder, and is free afterwards", async () => {
    const lock = await lockState(stateDir);
    await lock.setUrl("http://127.0.0.1:9999");
    await expect(lockState(stateDir)).rejects.toThrow(`pid ${process.pid}, since`);
    await expect(lockState(stateDir)).rejects.toThrow("at http://127.0.0.1:9999");
    lock.release();
    (await lockState(stateDir)).release();
    expect(readdirSync(join(stateDir, "lock"))).toEqual([]);
  });

  it("goes to exactly one of many simultaneous starts", async () => {
    const attempts = await Promise.allSettled(Array.from({ length: 20 }, () => lockState(stateDir)));
    const held = attempts.filter((attempt) => attempt.status === "fulfilled");
    expect(held).toHaveLength(1);
    held[0]?.value.release();
  });

  const others: [what: string, other: Claim | string, ageMs: number, free: boolean][] = [
    ["of a pid that another process has now", { ...claim, pid: process.pid, space: pidSpace() }, 0, true],
    ["of a pid that no process has", { ...claim, pid: 2 ** 30, space: pidSpace() }, 0, true],
    ["that cannot be read", "{", 0, true],
    ["of another host, recently touched", { ...claim, space: "elsewhere" }, 0, false],
    ["of another host, touched long ago", { ...claim, space: "elsewhere" }, 60_000, true],
    [
      "of this same process",
      { ...claim, pid: process.pid, space: pidSpace(), identity: processIdentity(process.pid) ?? "" },
      60_000,
      false,
    ],
  ];
  it.each(others)("handles a claim %s", async (_what, other, ageMs, free) => {
    (await lockState(stateDir)).release();
    const file = join(stateDir, "lock", "00.json");
    writeFileSync(file, typeof other === "string" ? other : JSON.stringify(other));
    const then = new Date(Date.now() - ageMs);
    utimesSync(file, then, then);
    if (free) (await lockState(stateDir)).release();
    else await expect(lockState(stateDir)).rejects.toThrow("in use by a pool runner");
    expect(readdirSync(join(stateDir, "lock"))).toEqual(free ? [] : ["00.json"]);
  });
});
