import { expect, it } from "vitest";
import { days, durationDays } from "../../../scripts/cli/duration-flag.ts";
import { workersTables } from "../../../scripts/cli/pool.ts";
import { maxLength } from "../../../scripts/cli/text-flag.ts";
import { hintsOf } from "../../../worker-agent/cli/shared/hints.ts";
import { decimal, integer } from "../../../worker-agent/cli/shared/number-flags.ts";
import { printable, table } from "../../../worker-agent/cli/shared/table.ts";

it.each<[given: string, want: number | undefined]>([
  ["30d", 30],
  ["12h", 0.5],
  ["1.5h", 0.0625],
  ["2w", 14],
  ["90m", 0.0625],
  ["86400s", 1],
  ["0d", undefined],
  ["30", undefined],
  ["d", undefined],
  ["-1d", undefined],
  ["1e3d", undefined],
  ["1d2h", undefined],
  ["1 d", undefined],
  ["1D", undefined],
])("%s is %s days", (given, want) =>
  want === undefined ? expect(durationDays(given)).toBeUndefined() : expect(durationDays(given)).toBeCloseTo(want, 12),
);

it("a missing flag is absent; a wrong one gives an error that states the allowed values", () => {
  expect([
    days("x", undefined, 1),
    integer("x", undefined, 0, 1),
    decimal("x", undefined, 0, 1),
    maxLength("x", undefined, 1),
  ]).toEqual([undefined, undefined, undefined, undefined]);
  expect(integer("x", "65535", 0, 65_535)).toBe(65_535);
  expect(decimal("x", "0.7", 0, 2)).toBe(0.7);
  expect(() => days("expires", "soon", 10)).toThrow("--expires must be a duration such as 30d");
  expect(days("expires", "10d", 10)).toBe(10);
  expect(() => days("expires", "241h", 10)).toThrow('--expires must be at most 10d, not "241h".');
  expect(maxLength("label", "x".repeat(5), 5)).toBe("xxxxx");
  expect(() => maxLength("label", "x".repeat(6), 5)).toThrow("--label must have at most 5 characters; it has 6.");
});

it.each(["65536", "-1", "1.5", "1e3", "", "x", "0x10", " 1"])('"%s" is not a port', (given) =>
  expect(() => integer("port", given, 0, 65_535)).toThrow("--port must be a whole number from 0 to 65535"),
);

it.each(["2.1", "-1", "1e-1", "", "Infinity"])('"%s" is not a temperature', (given) =>
  expect(() => decimal("temperature", given, 0, 2)).toThrow("--temperature must be a number from 0 to 2"),
);

it("a table has columns; an empty table is a sentence", () => {
  expect(
    table(
      ["ID", "LABEL"],
      [
        ["1", "long one"],
        ["22", ""],
      ],
      "none",
    ),
  ).toBe("ID  LABEL\n1   long one\n22");
  expect(table(["ID"], [], "none")).toBe("none");
});

it("a label cannot control the terminal", () => {
  expect(printable("a\u001b[2Jb\u0007\u202ec\n")).toBe("a�[2Jb��c�");
  expect(printable(null)).toBe("");
});

it.each<[state: string, about: object]>([
  ["disconnected", {}],
  ["connected", { connected: true }],
  ["expired", { expires_at: "2026-01-01T00:00:00.000Z" }],
  ["revoked 2026-01-02", { revoked_at: "2026-01-02", expires_at: "2026-01-01T00:00:00.000Z" }],
])("a worker token is shown as %s", (state, about) => {
  const token = { id: "t", label: "", worker_id: null, created_at: "", revoked_at: null, connected: false };
  const tokens = [{ ...token, expires_at: "2026-01-03T00:00:00.000Z", ...about }];
  expect(workersTables({ tokens, workers: [] }, Date.parse("2026-01-02T00:00:00Z"), hintsOf({}, {}))).toMatch(
    new RegExp(` {2}${state}$`),
  );
});
