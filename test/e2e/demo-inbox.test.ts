import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { expect, it } from "vitest";
import { run } from "./support.ts";

const leftovers = () => readdirSync(tmpdir()).filter((name) => name.startsWith("ligand-inbox-"));

it("two admins ask each other, and each step answers as specified, as the demo's last line reports", async () => {
  const before = leftovers();
  const { code, stdout } = await run(["scripts/demo-inbox.ts"]);
  const [line = "", ...more] = stdout.trimEnd().split("\n");
  expect(more).toEqual([]);
  expect(JSON.parse(line)).toEqual({
    ok: true,
    read: { asked: "pending", approved: "executed", answered: "executed", events: 1 },
    switch_off: "action_disabled",
    no_admin_key: "admin_key_required",
    write: {
      asked: "pending",
      approved: "executed",
      answered: "executed",
      result: { ok: true, worker_id: null, circuits: 0, scores: 0 },
    },
    cooldown: "cooldown",
    overridden: { asked: "blocked", without_reason: "refused", approved: "executed", slashing: "dismissed" },
  });
  expect(code).toBe(0);
  expect(leftovers()).toEqual(before);
});
