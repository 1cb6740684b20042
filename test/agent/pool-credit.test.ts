import { expect, it } from "vitest";
import { PoolCredit } from "../../worker-agent/session/pool-credit.ts";

const free = (n: number) => [{ model: "m", free: n }];

it.each<[what: string, told: number, used: number, now: number, plenty: boolean]>([
  ["the pool knows of no free slot yet", 0, 0, 4, false],
  ["the pool knows of most free slots", 8, 1, 8, true],
  ["the pool knows of half of the free slots", 8, 4, 8, true],
  ["the pool knows of less than half of the free slots", 8, 5, 8, false],
  ["the only slot became free: a job may be waiting for it", 1, 1, 1, false],
  ["the pool knows of the only slot, which is free", 1, 0, 1, false],
])("%s", (_what, announced, used, now, plenty) => {
  const credit = new PoolCredit();
  credit.announced(free(announced));
  for (let i = 0; i < used; i++) credit.jobReceived("m");
  expect(credit.isPlenty(free(now))).toBe(plenty);
});
