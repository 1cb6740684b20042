/** Workers of every version read this schema as "no parameters". */
export const NO_PARAMETERS = Object.freeze({ type: "object", properties: {}, additionalProperties: false });

/** A schema with only these keywords describes no members. */
const WITHOUT_MEMBERS = new Set([
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
 * Whether a function takes no parameters: its schema is absent, `{}`, or an object without any keyword about members.
 * Clients use all three forms.
 */
export function takesNoParameters(given: unknown): boolean {
  if (given === undefined || given === null) return true;
  if (typeof given !== "object" || Array.isArray(given)) return false;
  const { type = "object", properties = {} } = given as { type?: unknown; properties?: unknown };
  const none = typeof properties === "object" && properties !== null && Object.keys(properties).length === 0;
  return type === "object" && none && Object.keys(given).every((key) => WITHOUT_MEMBERS.has(key));
}
