import * as fc from "fast-check";
import { expect, it } from "vitest";
import { nextTimeOf, withSuccessors } from "../../../edge/admins/successor-rules.ts";
import type { AdminTokenRow } from "../../../schema/db/admin-tokens.ts";

const made = (id: string, name: string, createdBy: string, createdAtMs: number): AdminTokenRow => ({
  id,
  name,
  secretSha256: "",
  createdBy,
  createdAtMs,
  revokedBy: null,
  revokedAtMs: null,
});

/** Steps of the object, under any wall clock. */
const step = fc.record({
  what: fc.constantFrom("create", "rotate", "revoke" as const),
  name: fc.constantFrom("a", "b"),
  by: fc.constantFrom("admin", "own" as const),
  clockMs: fc.integer({ min: 0, max: 5 }),
});

it("finds exactly the tokens that replaced a token, whichever way the wall clock steps", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const rows = new Map<string, AdminTokenRow>();
      const successor = new Map<string, string>();
      for (const [i, { what, name, by, clockMs }] of steps.entries()) {
        const living = [...rows.values()].find((row) => row.name === name && row.revokedAtMs === null);
        const acting = by === "own" ? name : "admin";
        const atMs = nextTimeOf(name, [...rows.values()], clockMs);
        if (what === "create" && living) continue;
        if (what !== "create" && !living) continue;
        if (living) rows.set(living.id, { ...living, revokedBy: acting, revokedAtMs: atMs });
        if (what === "revoke") continue;
        const row = made(String(i), name, acting, atMs);
        rows.set(row.id, row);
        if (living) successor.set(living.id, row.id);
      }
      for (const row of rows.values()) {
        const expected: string[] = [];
        for (let id: string | undefined = row.id; id !== undefined; id = successor.get(id)) expected.push(id);
        expect(withSuccessors(row, [...rows.values()]).map(({ id }) => id)).toEqual(expected);
      }
    }),
  );
});

it("terminates for rows of an earlier release whose times are all equal", () => {
  const rotated = { revokedBy: "a", revokedAtMs: 5 };
  const rows = [
    { ...made("1", "a", "admin", 1), ...rotated },
    { ...made("2", "a", "a", 5), ...rotated },
    made("3", "a", "a", 5),
  ];
  for (const row of rows.slice(0, 2)) expect(withSuccessors(row, rows)).toContain(rows[2]);
});

it("returns a time that can be displayed, whatever was imported", () => {
  const latest = made("1", "a", "admin", 8_640_000_000_000_000);
  expect(new Date(nextTimeOf("a", [latest], 7)).toISOString()).toBe("1970-01-01T00:00:00.007Z");
});
