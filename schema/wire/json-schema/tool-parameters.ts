/** What a worker of any version reads as "this function takes no parameters". */
export const NO_PARAMETERS = Object.freeze({ type: "object", properties: {}, additionalProperties: false });

/** Beside these a schema names no member, and says nothing of one. */
const NAMES_NONE = new Set([
  "type",
  "properties",
  "$schema",
  "$id",
  "$comment",
  "title",
  "description",
  "default",
  "examples",
]);

/**
 * Whether a function takes no parameters: its schema is absent or `{}`, or an object without a word about its members,
 * which is how many clients say so.
 */
export function takesNoParameters(given: unknown): boolean {
  if (given === undefined || given === null) return true;
  if (typeof given !== "object" || Array.isArray(given)) return false;
  const { type = "object", properties = {} } = given as { type?: unknown; properties?: unknown };
  const none = typeof properties === "object" && properties !== null && Object.keys(properties).length === 0;
  return type === "object" && none && Object.keys(given).every((key) => NAMES_NONE.has(key));
}
