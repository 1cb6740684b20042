import { once } from "node:events";
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { expect, it } from "vitest";
import { run, spawnProgram, waitFor } from "./support.ts";

const PROGRAM = "scripts/demo-federation.ts";
const leftovers = () => readdirSync(tmpdir()).filter((name) => name.startsWith("ligand-federation-"));

it("three pools bond, are partitioned and converge, as the demo's last line reports", async () => {
  const before = leftovers();
  const { code, stdout, stderr } = await run([PROGRAM]);
  const [line = "", ...more] = stdout.trimEnd().split("\n");
  expect({ more, stderr: stderr.split("\n").slice(-2)[0] }).toEqual({
    more: [],
    stderr: "All three logs are valid: every hash, chain and signature.",
  });
  const ms = expect.any(Number);
  expect(JSON.parse(line)).toEqual({
    ok: true,
    met_ms: ms,
    bonded_ms: ms,
    event_ms: ms,
    public_events: 0,
    kill_switch: { refused_endpoints: 15, streams_ended_ms: ms, caught_up_ms: ms },
    cut_off: { caught_up_ms: ms },
    converged: { events: 3, at: { Alder: 3, Birch: 3, Cedar: 0 } },
    total_ms: ms,
  });
  expect(code).toBe(0);
  expect(leftovers()).toEqual(before);
});

it("Ctrl-C ends the demo immediately with a message, and no file or process remains", async () => {
  const before = leftovers();
  const { child, output } = spawnProgram([PROGRAM, "--log"]);
  await waitFor(() => output.stderr.includes("Applied migration"), 30_000, "the pools to be starting");
  child.kill("SIGINT");
  const [code] = await once(child, "close");
  expect({ code, said: JSON.parse(output.stdout) }).toEqual({ code: 1, said: { ok: false, error: "interrupted" } });
  expect(leftovers()).toEqual(before);
});
