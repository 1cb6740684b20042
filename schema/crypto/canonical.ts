/** Canonical JSON, RFC 8785 (JCS): the bytes that are hashed and signed (docs/spec/identity.md#keys-and-signatures). */

import canonicalize from "canonicalize";
import { utf8 } from "./bytes.ts";

/** Our own values nest less than ten deep. The bound protects the stack from a stranger's `[[[[…`. */
const MAX_DEPTH = 100;

/**
 * RFC 8785 bytes of a JSON value. A member that is undefined is left out, as JSON.stringify does.
 * Throws TypeError for values that JSON does not have: undefined, functions, symbols, bigints, NaN, infinities, lone surrogates,
 * holes in arrays, objects other than plain ones, cycles, and nesting deeper than 100.
 */
export function canonicalBytes(value: unknown): Uint8Array {
  // The package itself writes `{"f":undefined}` for a function and `[,1]` for a hole.
  const reason = whyNotJson(value, 0);
  if (reason !== null) throw new TypeError(`not canonical JSON: ${reason}`);
  return written(value);
}

const written = (value: unknown): Uint8Array => utf8(canonicalize(value) ?? "");

/**
 * As `canonicalBytes`, for values from outside, where a refusal is an expected outcome: null instead of an exception.
 */
export function canonicalBytesOrNull(value: unknown): Uint8Array | null {
  return whyNotJson(value, 0) === null ? written(value) : null;
}

/** The reason never repeats the value, which may be private. */
function whyNotJson(value: unknown, depth: number): string | null {
  if (depth > MAX_DEPTH) return `deeper than ${MAX_DEPTH}, or a cycle`;
  switch (typeof value) {
    case "boolean":
      return null;
    case "string":
      // RFC 8785 section 3.2.2.2: a lone surrogate must end the canonicalisation.
      return value.isWellFormed() ? null : "a lone surrogate";
    case "number":
      return Number.isFinite(value) ? null : "NaN or an infinity";
    case "object":
      if (value === null) return null;
      if (Array.isArray(value)) return whyNotArray(value, depth + 1);
      return isPlain(value) ? whyNotObject(value, depth + 1) : "an object that is not plain";
    default:
      return typeof value;
  }
}

function whyNotArray(items: unknown[], depth: number): string | null {
  for (let i = 0; i < items.length; i++) {
    const reason = whyNotJson(items[i], depth);
    if (reason !== null) return reason;
  }
  return null;
}

function whyNotObject(object: object, depth: number): string | null {
  for (const [name, member] of Object.entries(object)) {
    if (!name.isWellFormed()) return "a lone surrogate";
    const reason = member === undefined ? null : whyNotJson(member, depth);
    if (reason !== null) return reason;
  }
  return null;
}

/** Checked by shape: an object of another realm is plain too. A Date, a Map and a boxed number are not. */
function isPlain(object: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(object);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
