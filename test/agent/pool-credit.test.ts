import { expect, it } from "vitest";
import { PoolCredit } from "../../worker-agent/session/pool-credit.ts";

const free = (n: number) => [{ model: "m", free: n }];

it.each<[what: string, told: number, used: number, now: number, plenty: boolean]>([
  ["nothing was told yet", 0, 0, 4, false],
  ["most of what is free is known", 8, 1, 8, true],
  ["half of it is known", 8, 4, 8, true],
  ["less than half of it is known", 8, 5, 8, false],
  ["the only slot became free: somebody may be waiting for it", 1, 1, 1, false],
  ["the only slot is known and free", 1, 0, 1, false],
])("%s", (_what, told, used, now, plenty) => {
  const credit = new PoolCredit();
  credit.announced(free(told));
  for (let i = 0; i < used; i++) credit.jobReceived("m");
  expect(credit.isPlenty(free(now))).toBe(plenty);
});
