import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { identityOfPs, identityOfStat, processIdentity, waitForEnd } from "../../worker-agent/state/processes.ts";

/** `/proc/PID/stat` with this command and state, started at tick 777. */
const stat = (command: string, state: string) =>
  `12 (${command}) ${state} 1 12 12 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 777 2654208 402\n`;

describe("the identity of a process", () => {
  it.each<[what: string, stat: string, want: string | undefined]>([
    ["field 22 and the boot id", stat("workerd", "S"), "boot/777"],
    ["a name with spaces and parentheses", stat("a) R (b) 1 2", "R"), "boot/777"],
    ["a zombie counts as ended", stat("workerd", "Z"), undefined],
    ["a dead process too", stat("workerd", "X"), undefined],
    ["an unreadable line", "", undefined],
  ])("Linux: %s", (_what, text, want) => expect(identityOfStat("boot\n", text)).toBe(want));

  it.each<[what: string, line: string, want: string | undefined]>([
    ["the start time", "Ss   Sat Nov 21 05:56:10 2026\n", "Sat Nov 21 05:56:10 2026"],
    ["padding is ignored", "S+ Sat Nov  1 05:56:10 2026    \n", "Sat Nov 1 05:56:10 2026"],
    ["a zombie counts as ended", "Z    Sat Nov 21 05:56:10 2026\n", undefined],
    ["an unreadable line", "\n", undefined],
  ])("other systems: %s", (_what, line, want) => expect(identityOfPs(line)).toBe(want));

  it("stays the same while the process runs, and is undefined after it", async () => {
    const child = spawn(process.execPath, ["-e", "process.stdin.resume()"], { stdio: ["pipe", "ignore", "ignore"] });
    await once(child, "spawn");
    const pid = child.pid ?? 0;
    const identity = processIdentity(pid) ?? "none";
    expect(identity).not.toBe(processIdentity(process.pid));
    expect(await waitForEnd(pid, identity, 20)).toBe(false);
    child.stdin.end();
    expect(await waitForEnd(pid, identity, 10_000)).toBe(true);
    expect(processIdentity(pid)).toBeUndefined();
  });

  it.each([0, -1, 1.5, Number.NaN, 2 ** 30])("pid %s has no process", (pid) =>
    expect(processIdentity(pid)).toBeUndefined(),
  );
});
