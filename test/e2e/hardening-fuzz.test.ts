import { expect, it } from "vitest";
import { fuzz } from "../../scripts/fuzz/fuzz.ts";

/** A small part of what `npm run fuzz` does; the seed is printed, and with it the same is sent again. */
it("whatever clients, operators, workers and peers send, the pool answers in its own codes and serves others meanwhile", async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  console.log(`fuzz seed ${seed}: npm run fuzz -- --seed ${seed}`);
  const report = await fuzz({ seed, cases: { client: 800, agent: 400, peer: 300, admin: 250 }, progress: () => {} });
  expect(report.findings).toEqual([]);
  expect(report.bystandersServed).toBeGreaterThan(5);
  // Not everything may have been refused at the door.
  for (const outcome of [
    "client valid: 200",
    "worker valid: taken",
    "proof: welcome",
    "peer valid by peer: 200",
    "admin valid: 201",
  ]) {
    expect(report.outcomes[outcome] ?? 0, outcome).toBeGreaterThan(5);
  }
});
