import { expect, it } from "vitest";
import { fuzz } from "../fuzz/run.ts";

/** A small part of `npm run fuzz`. The seed is printed, and repeats the run. */
it("the pool answers any input of clients, operators, workers and peers with its own codes, and serves others meanwhile", async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  console.log(`fuzz seed ${seed}: npm run fuzz -- --seed ${seed}`);
  const report = await fuzz({ seed, cases: { client: 800, agent: 400, peer: 300, admin: 250 }, progress: () => {} });
  expect(report.findings).toEqual([]);
  // Plain requests are sent beside each part, and all of them were served: one that fails is a finding.
  expect(report.bystandersServed).toBeGreaterThan(5);
  // Only the seed decides what is sent: each class of case was tried. The fuzzer itself reports a finding if no plain
  // case of a part was accepted, so that not everything is refused early.
  const classes = [
    ...["client", "peer", "admin", "worker", "stranger"].flatMap((part) =>
      ["valid", "near", "hostile"].map((how) => `${part} ${how}`),
    ),
    ...["proof valid", "proof near", "peer by peer", "peer by stranger", "peer by nobody"],
  ];
  expect(classes.filter((each) => !report.sent[each])).toEqual([]);
});
