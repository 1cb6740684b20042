type Schema = Record<string, unknown>;

const numbered = (count: number, one: (i: number) => unknown) =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`p${i}`, one(i)]));

function objectOf(count: number, one: (i: number) => unknown): Schema {
  const properties = numbered(count, one);
  return { type: "object", properties, required: Object.keys(properties), additionalProperties: false };
}

function nested(levels: number, inner: Schema): Schema {
  return levels === 0 ? inner : { type: "array", maxItems: 900 + levels, items: nested(levels - 1, inner) };
}

/**
 * Schemas that a pool accepts and that are as expensive as possible for a worker's grammar. Each salt gives a different
 * schema, so that no cache helps.
 */
export const DEAR_SCHEMAS: Readonly<Record<string, (salt: number) => Schema>> = Object.freeze({
  "990 strings of at most 1,000 characters": (salt) =>
    objectOf(990, () => ({ type: "string", maxLength: 1_000 - salt })),
  "900 strings of as many lengths": (salt) =>
    objectOf(900, (i) => ({ type: "string", minLength: i % 400, maxLength: 1_000 - ((i + salt) % 500) })),
  "lists as long as the budget": (salt) =>
    objectOf(10, (i) => ({ type: "array", items: { const: i + salt }, maxItems: 1_000 })),
  "lists beyond the budget": (salt) =>
    objectOf(400, (i) => ({ type: "array", items: { const: i + salt }, minItems: 500, maxItems: 1_000 })),
  "lists in lists": (salt) => objectOf(50, (i) => nested(12, { const: i + salt })),
  "ranges of numbers": (salt) =>
    objectOf(900, (i) => ({ type: "integer", minimum: i + salt, maximum: 123_456_789_012_345 - i })),
  "patterns as long as they may be": (salt) =>
    objectOf(25, (i) => ({ type: "string", pattern: `^([a-z]{1,9}${i + salt}){1,38}$` })),
  "large enums": (salt) =>
    objectOf(9, (i) => ({ enum: Array.from({ length: 350 }, (_, k) => `value ${salt} ${i} ${k}`) })),
  "long values": (salt) => ({ enum: Array.from({ length: 400 }, (_, i) => `${"x".repeat(140)}${i}-${salt}`) }),
});

/** 128 tools whose parameters use up the limit for all tools. */
export const dearTools = (salt: number) =>
  Array.from({ length: 128 }, (_, i) => ({
    name: `tool_${i}`,
    parameters: objectOf(16, (k) => ({ type: "string", maxLength: 900 + ((i + k + salt) % 100) })),
  }));
