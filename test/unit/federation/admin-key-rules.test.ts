import fc from "fast-check";
import { expect, it } from "vitest";
import { addKey, mayAcceptWrites, removeKey } from "../../../edge/pool/admin-key-rules.ts";
import type { AdminKey } from "../../../schema/wire/admin-keys.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

/** Which admin keys a pool has, whatever its admins do in whatever order. */

const keyOf = (key_id: string, peer: string | null, label = ""): AdminKey => ({
  key_id,
  public_key: "",
  peer,
  label,
  added_by: "admin",
  added_at_ms: 1,
});

it("a key that its owner registers again stays as it was", () => {
  const first = keyOf("k", "p", "first");
  const again = addKey([first], keyOf("k", "p", "second"));
  expect(again).toEqual({ ok: true, keys: [first], key: first, isNew: false });
});

it("a full pool still takes a key that it has", () => {
  const full = Array.from({ length: LIMITS.adminKeys }, (_, i) => keyOf(`k${i}`, null));
  expect(addKey(full, keyOf("k0", null))).toMatchObject({ ok: true, isNew: false });
  expect(addKey(full, keyOf("new", null))).toEqual({ ok: false, code: "admin-keys/too-many" });
  expect(addKey(full, keyOf("k0", "p"))).toEqual({ ok: false, code: "admin-keys/taken" });
});

it("no order of changes gives a key two owners, loses another key, or lets writes be on without a key", () => {
  const id = fc.constantFrom("a", "b", "c");
  const owner = fc.constantFrom(null, "p", "q");
  const change = fc.oneof(
    fc.record({ type: fc.constant("add" as const), id, owner }),
    fc.record({ type: fc.constant("remove" as const), id }),
  );
  fc.assert(
    fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
      let keys: readonly AdminKey[] = [];
      const owners = new Map<string, string | null>();
      for (const each of changes) {
        const had = owners.get(each.id);
        if (each.type === "add") {
          const step = addKey(keys, keyOf(each.id, each.owner));
          expect(step.ok).toBe(had === undefined || had === each.owner);
          if (!step.ok) continue;
          expect(step.isNew).toBe(had === undefined);
          owners.set(each.id, each.owner);
          keys = step.keys;
        } else {
          const step = removeKey(keys, each.id);
          expect(step.ok).toBe(had !== undefined);
          if (!step.ok) continue;
          owners.delete(each.id);
          keys = step.keys;
        }
        expect(keys.map(({ key_id, peer }): [string, string | null] => [key_id, peer]).sort()).toEqual(
          [...owners].sort(),
        );
        expect(mayAcceptWrites(keys)).toBe(owners.size > 0);
      }
    }),
  );
});
