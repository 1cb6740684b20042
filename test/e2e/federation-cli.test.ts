import { describe, expect, it } from "vitest";
import { startPool } from "./support.ts";

/** `ligand federation …` and `ligand peers …` against pools in processes of their own. */

describe("the switch of a pool on one machine", () => {
  it("is on from the first start, and stays off over a restart once it is off", async () => {
    const first = await startPool();
    expect((await first.admin.federation()).policy.federation).toBe("on");
    await first.admin.changeFederation({ federation: "off" });
    await first.stop();
    const again = await startPool({ stateDir: first.stateDir });
    expect((await again.admin.federation()).policy.federation).toBe("off");
  });
});
