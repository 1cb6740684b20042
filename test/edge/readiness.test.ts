import { env } from "cloudflare:workers";
import { afterEach, expect, it, vi } from "vitest";
import { LIMITS } from "../../schema/wire/limits.ts";
import { ask } from "./support.ts";

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

it("concurrent readiness checks share one query of D1", async () => {
  const prepare = vi.spyOn(env.DB, "prepare");
  const answers = await Promise.all(Array.from({ length: 50 }, () => ask("/readyz")));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
  expect(prepare).toHaveBeenCalledTimes(1);
});

it("a result is reused for a second, and not longer where the clock steps back", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  vi.setSystemTime(Date.now() + LIMITS.statusCacheMs);
  const prepare = vi.spyOn(env.DB, "prepare");
  for (const [passMs, looks] of [
    [0, 1],
    [LIMITS.statusCacheMs - 1, 1],
    [1, 2],
    [-3_600_000, 3],
  ] as const) {
    vi.setSystemTime(Date.now() + passMs);
    expect((await ask("/readyz")).status).toBe(200);
    expect(prepare).toHaveBeenCalledTimes(looks);
  }
});
