import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UnservedDemand } from "../../../edge/inference/jobs/unserved-demand-tracker.ts";

const offer = (connection: string, ...names: string[]) => ({ connection, models: names.map((name) => ({ name })) });

describe("the demand that is reported to a worker", () => {
  it("counts requests for models that it does not serve, since it connected and since its last report", () => {
    const demand = new UnservedDemand();
    demand.requested("n");
    for (const worker of [offer("a", "m"), offer("both", "m", "n")]) demand.connected(worker);
    expect(demand.takeReports()).toEqual([]);
    for (const model of ["m", "n", null, "n"]) demand.requested(model);
    expect(demand.takeReports()).toEqual([
      { connection: "a", jobs: 3 },
      { connection: "both", jobs: 1 },
    ]);
    demand.requested("m");
    expect(demand.takeReports()).toEqual([]);
    demand.requested("n");
    expect(demand.takeReports()).toEqual([{ connection: "a", jobs: 1 }]);
  });

  it("counts each request once, in every order of requests, connections and reports", () => {
    type Move =
      | { do: "requested"; model: string | null }
      | { do: "connected" | "disconnected"; worker: number }
      | { do: "report" };
    const workers = [offer("0", "m"), offer("1", "m", "n"), offer("2", "o")];
    const worker = fc.nat(workers.length - 1);
    const move: fc.Arbitrary<Move> = fc.oneof(
      fc.record({ do: fc.constant("requested" as const), model: fc.constantFrom("m", "n", "o", null) }),
      fc.record({ do: fc.constantFrom("connected" as const, "disconnected" as const), worker }),
      fc.record({ do: fc.constant("report" as const) }),
    );
    fc.assert(
      fc.property(fc.array(move, { maxLength: 80 }), (moves) => {
        const demand = new UnservedDemand();
        const unreported = new Map<string, number>();
        for (const next of moves) {
          if (next.do === "report") {
            const due = [...unreported].flatMap(([connection, jobs]) => (jobs > 0 ? [{ connection, jobs }] : []));
            expect(new Set(demand.takeReports())).toEqual(new Set(due));
            expect(demand.takeReports()).toEqual([]);
            for (const connection of unreported.keys()) unreported.set(connection, 0);
          } else if (next.do === "requested") {
            demand.requested(next.model);
            for (const { connection, models } of workers) {
              const isServed = models.some(({ name }) => name === next.model);
              if (!isServed && unreported.has(connection))
                unreported.set(connection, (unreported.get(connection) ?? 0) + 1);
            }
          } else {
            const which = workers[next.worker] ?? expect.fail();
            if (next.do === "connected") {
              demand.connected(which);
              unreported.set(which.connection, 0);
            } else {
              demand.disconnected(which.connection);
              unreported.delete(which.connection);
            }
            expect(demand.hasListeners).toBe(unreported.size > 0);
          }
        }
      }),
    );
  });
});
