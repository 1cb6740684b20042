/** The formats that agents before `ligand.worker.v1.2` know. */
export const PLAIN_FORMATS = ["date", "time", "date-time", "uuid"] as const;

const ANNOTATIONS = [
  ...["$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples"],
  ...["deprecated", "readOnly", "writeOnly"],
];
const BOUNDS = ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"];
const OF_TYPE: Readonly<Record<string, readonly string[]>> = Object.freeze({
  boolean: [],
  null: [],
  string: ["minLength", "maxLength"],
  number: BOUNDS,
  integer: BOUNDS,
  array: ["items", "minItems", "maxItems"],
  object: ["properties", "required", "additionalProperties"],
});

/**
 * Whether an agent before `ligand.worker.v1.2` certainly understands a schema that the pool has read: each part is one
 * type, a list of values, alternatives or a reference, and uses only the keywords that such agents know.
 */
export function isPlain(schema: unknown): boolean {
  if (schema === true) return true;
  if (typeof schema !== "object" || schema === null || Array.isArray(schema)) return false;
  const given = schema as Record<string, unknown>;
  for (const definitions of [given.$defs, given.definitions]) if (!areAllPlain(definitions)) return false;
  const keywords = Object.keys(given).filter((key) => !ANNOTATIONS.includes(key));
  const [first = ""] = keywords;
  if (keywords.length === 0) return true;
  if (keywords.length === 1 && first === "$ref")
    return /^#(?:\/(\$defs|definitions)\/[^/~%]+)?$/.test(String(given.$ref));
  if (keywords.length === 1 && first === "anyOf") return areAllPlain(given.anyOf);
  const values = ["enum", "const"].filter((key) => Object.hasOwn(given, key));
  if (values.length > 0) return values.length === 1 && keywords.length === (Object.hasOwn(given, "type") ? 2 : 1);
  const { type, format } = given;
  if (typeof type !== "string" || !Object.hasOwn(OF_TYPE, type)) return false;
  if (format !== undefined)
    return type === "string" && keywords.length === 2 && PLAIN_FORMATS.some((one) => one === format);
  if (!keywords.every((key) => key === "type" || OF_TYPE[type]?.includes(key))) return false;
  // Draft 4 has exclusive bounds as flags.
  if (keywords.some((key) => BOUNDS.includes(key) && typeof given[key] !== "number")) return false;
  const { properties, items = true, additionalProperties = true, required = [] } = given;
  const named = properties ?? {};
  const areNamed = Array.isArray(required) && required.every((name) => Object.hasOwn(named, String(name)));
  return (
    areNamed &&
    areAllPlain(properties) &&
    isPlain(items) &&
    (additionalProperties === false || isPlain(additionalProperties))
  );
}

function areAllPlain(schemas: unknown): boolean {
  if (schemas === undefined) return true;
  return typeof schemas === "object" && schemas !== null && Object.values(schemas).every(isPlain);
}
