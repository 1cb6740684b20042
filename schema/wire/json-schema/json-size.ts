import { utf8Bytes } from "../utf8.ts";

export type JsonSize =
  | { readonly ok: true; readonly bytes: number }
  | { readonly ok: false; readonly problem: "deep" | "large" | "no-json" };

/**
 * How large a JSON value is as text, and whether it stays within bounds. It stops at the first bound that is passed,
 * and takes no recursion: the value may be nested as deep as a body is long. A number counts as eight bytes, and an
 * escape as the character that it stands for.
 */
export function measureJson(
  value: unknown,
  { bytes: most, depth: deepest }: { bytes: number; depth: number },
): JsonSize {
  let bytes = 0;
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth >= deepest) return { ok: false, problem: "deep" };
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
        // A number beyond doubles is read as infinite, which JSON cannot say again.
        if (typeof one === "number" && !Number.isFinite(one)) return { ok: false, problem: "no-json" };
        bytes += 8;
      }
      if (bytes > most) return { ok: false, problem: "large" };
    }
    level = next;
  }
  return { ok: true, bytes };
}
