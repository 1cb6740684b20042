import { expect, it } from "vitest";
import { fuzz } from "../fuzz/run.ts";

/** A small part of what `npm run fuzz` does; the seed is printed, and with it the same is sent again. */
it("whatever clients, operators, workers and peers send, the pool answers in its own codes and serves others meanwhile", async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  console.log(`fuzz seed ${seed}: npm run fuzz -- --seed ${seed}`);
  const report = await fuzz({ seed, cases: { client: 800, agent: 400, peer: 300, admin: 250 }, progress: () => {} });
  expect(report.findings).toEqual([]);
  // Some are sent beside each part, and each was served: what goes wrong with one is a finding.
  expect(report.bystandersServed).toBeGreaterThan(5);
  // The seed decides what is sent, and nothing else does: each class of case was tried. That a plain case of each part
  // was taken, so that not all is refused at the door, is the fuzzer's own finding.
  const classes = [
    ...["client", "peer", "admin", "worker", "stranger"].flatMap((part) =>
      ["valid", "near", "hostile"].map((how) => `${part} ${how}`),
    ),
    ...["proof valid", "proof near", "peer by peer", "peer by stranger", "peer by nobody"],
  ];
  expect(classes.filter((each) => !report.sent[each])).toEqual([]);
});
