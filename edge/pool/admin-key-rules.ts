/** Rules of registered admin keys (docs/spec/federation.md#admin-keys). A key has one owner. */
import type { AdminKey } from "../../schema/wire/admin-keys.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

export type AddStep =
  | { readonly ok: true; readonly keys: readonly AdminKey[]; readonly key: AdminKey; readonly isNew: boolean }
  | { readonly ok: false; readonly code: "admin-keys/taken" | "admin-keys/too-many" };

/** A key that its owner registered before stays as it is, with its first label and date. */
export function addKey(keys: readonly AdminKey[], key: AdminKey): AddStep {
  const registered = keys.find(({ key_id }) => key_id === key.key_id);
  if (registered) {
    return registered.peer === key.peer
      ? { ok: true, keys, key: registered, isNew: false }
      : { ok: false, code: "admin-keys/taken" };
  }
  if (keys.length >= LIMITS.adminKeys) return { ok: false, code: "admin-keys/too-many" };
  return { ok: true, keys: [...keys, key], key, isNew: true };
}

export type RemoveStep =
  | { readonly ok: true; readonly keys: readonly AdminKey[]; readonly key: AdminKey }
  | { readonly ok: false; readonly code: "admin-keys/not-found" };

export function removeKey(keys: readonly AdminKey[], keyId: string): RemoveStep {
  const key = keys.find(({ key_id }) => key_id === keyId);
  if (!key) return { ok: false, code: "admin-keys/not-found" };
  return { ok: true, key, keys: keys.filter((each) => each !== key) };
}

/** Whether writes of other pools may be on: without a key, nobody could sign one. */
export function mayAcceptWrites(keys: readonly AdminKey[]): boolean {
  return keys.length > 0;
}
