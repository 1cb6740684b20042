import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Elsewhere } from "../../../edge/inference/jobs/unserved-demand-rules.ts";

const offer = (connection: string, ...names: string[]) => ({ connection, models: names.map((name) => ({ name })) });

describe("what workers hear of requests for others", () => {
  it("is how many came for models that they do not serve, since they came, and since they heard last", () => {
    const elsewhere = new Elsewhere();
    elsewhere.asked("n");
    for (const worker of [offer("a", "m"), offer("both", "m", "n")]) elsewhere.came(worker);
    expect(elsewhere.news()).toEqual([]);
    for (const model of ["m", "n", null, "n"]) elsewhere.asked(model);
    expect(elsewhere.news()).toEqual([
      { connection: "a", jobs: 3 },
      { connection: "both", jobs: 1 },
    ]);
    elsewhere.asked("m");
    expect(elsewhere.news()).toEqual([]);
    elsewhere.asked("n");
    expect(elsewhere.news()).toEqual([{ connection: "a", jobs: 1 }]);
  });

  it("counts nothing twice and forgets nothing, whoever comes, goes and hears when", () => {
    type Move = { do: "asked"; model: string | null } | { do: "came" | "went"; worker: number } | { do: "told" };
    const workers = [offer("0", "m"), offer("1", "m", "n"), offer("2", "o")];
    const worker = fc.nat(workers.length - 1);
    const move: fc.Arbitrary<Move> = fc.oneof(
      fc.record({ do: fc.constant("asked" as const), model: fc.constantFrom("m", "n", "o", null) }),
      fc.record({ do: fc.constantFrom("came" as const, "went" as const), worker }),
      fc.record({ do: fc.constant("told" as const) }),
    );
    fc.assert(
      fc.property(fc.array(move, { maxLength: 80 }), (moves) => {
        const elsewhere = new Elsewhere();
        const unheard = new Map<string, number>();
        for (const next of moves) {
          if (next.do === "told") {
            const due = [...unheard].flatMap(([connection, jobs]) => (jobs > 0 ? [{ connection, jobs }] : []));
            expect(new Set(elsewhere.news())).toEqual(new Set(due));
            expect(elsewhere.news()).toEqual([]);
            for (const connection of unheard.keys()) unheard.set(connection, 0);
          } else if (next.do === "asked") {
            elsewhere.asked(next.model);
            for (const { connection, models } of workers) {
              const isIts = models.some(({ name }) => name === next.model);
              if (!isIts && unheard.has(connection)) unheard.set(connection, (unheard.get(connection) ?? 0) + 1);
            }
          } else {
            const which = workers[next.worker] ?? expect.fail();
            if (next.do === "came") {
              elsewhere.came(which);
              unheard.set(which.connection, 0);
            } else {
              elsewhere.went(which.connection);
              unheard.delete(which.connection);
            }
            expect(elsewhere.hasListeners).toBe(unheard.size > 0);
          }
        }
      }),
    );
  });
});
