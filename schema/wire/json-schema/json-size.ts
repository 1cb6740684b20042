import { utf8Bytes } from "../utf8.ts";

export type JsonSize =
  | { readonly ok: true; readonly bytes: number }
  | { readonly ok: false; readonly problem: "deep" | "large" | "no-json" };

/**
 * Measures a JSON value as text and checks it against limits. It stops at the first limit that is exceeded. It does not
 * recurse, because the value may be nested as deeply as a body is long. A number counts as eight bytes, and an escape as
 * the character that it represents.
 */
export function measureJson(
  value: unknown,
  { bytes: maxBytes, depth: maxDepth }: { bytes: number; depth: number },
): JsonSize {
  let bytes = 0;
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth >= maxDepth) return { ok: false, problem: "deep" };
    const next: unknown[] = [];
    for (const one of level) {
      if (typeof one === "string") {
        if (!one.isWellFormed()) return { ok: false, problem: "no-json" };
        bytes += utf8Bytes(one) + 3;
      } else if (typeof one === "object" && one !== null) {
        bytes += 2;
        for (const inner of Object.values(one)) next.push(inner);
        if (!Array.isArray(one)) {
          for (const key of Object.keys(one)) {
            if (!key.isWellFormed()) return { ok: false, problem: "no-json" };
            bytes += utf8Bytes(key) + 3;
          }
        }
      } else {
        // A number too large for a double is read as infinity, which JSON cannot express.
        if (typeof one === "number" && !Number.isFinite(one)) return { ok: false, problem: "no-json" };
        bytes += 8;
      }
      if (bytes > maxBytes) return { ok: false, problem: "large" };
    }
    level = next;
  }
  return { ok: true, bytes };
}
