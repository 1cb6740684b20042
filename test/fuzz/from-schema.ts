import fc from "fast-check";
import * as z from "zod";

/**
 * Generates values that a zod schema accepts, so that a new field is fuzzed from its first day. It supports what `schema/wire`
 * uses and throws for anything else.
 */
export function fromSchema(schema: z.core.$ZodType): fc.Arbitrary<unknown> {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  const bounds = boundsOf(def);
  // Refinements cannot be inspected, so the schema itself filters the values.
  const checked = (values: fc.Arbitrary<unknown>) =>
    (def.checks?.length ?? 0) > 0 ? values.filter((value) => z.safeParse(schema, value).success) : values;
  switch (def.type) {
    case "object":
      return checked(members(def.shape));
    case "string":
      return checked(strings(schema, bounds));
    case "number":
      return checked(numbers(schema, bounds));
    case "boolean":
      return fc.boolean();
    case "null":
      return fc.constant(null);
    case "literal":
      return fc.constantFrom(...def.values);
    case "enum":
      return fc.constantFrom(...Object.values(def.entries));
    case "union":
      return checked(fc.oneof(...def.options.map(fromSchema)));
    case "array": {
      const minLength = bounds.min ?? 0;
      const few = { minLength, maxLength: Math.min(bounds.max ?? Number.POSITIVE_INFINITY, minLength + 4) };
      return checked(fc.array(fromSchema(def.element), few));
    }
    case "tuple":
      return checked(def.items.length === 0 ? fc.constant([]) : fc.tuple(...def.items.map(fromSchema)));
    case "record": {
      const pairs = fc.array(fc.tuple(fromSchema(def.keyType) as fc.Arbitrary<string>, fromSchema(def.valueType)), {
        maxLength: 4,
      });
      // `fc.dictionary` would assign to `__proto__`.
      return checked(pairs.map((entries) => Object.fromEntries(entries)));
    }
    case "optional":
    case "default":
    case "readonly":
      return fromSchema(def.innerType);
    case "nullable":
      return fc.oneof({ arbitrary: fromSchema(def.innerType), weight: 5 }, fc.constant(null));
    case "pipe": {
      const isText = (def.in as z.core.$ZodTypes)._zod.def.type === "string";
      const values = isText ? fc.oneof(fromSchema(def.in), wellFormed) : fromSchema(def.in);
      return values.filter((value) => z.safeParse(schema, value).success);
    }
    case "lazy":
      return fromSchema(def.getter());
    case "unknown":
    case "any":
      return anything;
    default:
      throw new Error(`no arbitrary for a zod schema of type ${def.type}`);
  }
}

/** For `unknown`: a small JSON value, or something like a JSON schema. */
const anything = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.letrec<{ schema: unknown }>((tie) => ({
    schema: fc.oneof(
      { maxDepth: 2, withCrossShrink: true },
      fc.constantFrom({}, true, { type: "string" }, { type: "integer" }, { enum: ["a", 1, null] }, { $ref: "#" }),
      fc.record(
        {
          type: fc.constantFrom("object", "array", "string", ["string", "null"], "nothing"),
          properties: fc.dictionary(fc.constantFrom("a", "b", "constructor", "é"), tie("schema"), { maxKeys: 2 }),
          required: fc.subarray(["a", "b", "c"]),
          items: tie("schema"),
          anyOf: fc.array(tie("schema"), { maxLength: 1 }),
          $defs: fc.dictionary(fc.constantFrom("d", "constructor"), tie("schema"), { maxKeys: 1 }),
          $ref: fc.constantFrom("#", "#/$defs/d", "#/$defs/constructor", "https://example.org"),
          additionalProperties: fc.boolean(),
          minLength: fc.integer({ min: -1, max: 2000 }),
          minimum: fc.constantFrom(0, 1, -1, 1e308),
        },
        { requiredKeys: [] },
      ),
    ),
  })).schema,
);

function members(shape: Readonly<Record<string, z.core.$ZodType>>): fc.Arbitrary<unknown> {
  const entries = Object.entries(shape);
  const requiredKeys = entries.filter(([, member]) => member._zod.optin !== "optional").map(([name]) => name);
  return fc.record(Object.fromEntries(entries.map(([name, member]) => [name, fromSchema(member)])), { requiredKeys });
}

interface Bounds {
  min?: number;
  max?: number;
  pattern?: RegExp;
}

function boundsOf(def: z.core.$ZodTypeDef): Bounds {
  const bounds: Bounds = {};
  for (const check of def.checks ?? []) {
    const each = (check as z.core.$ZodChecks)._zod.def;
    switch (each.check) {
      case "min_length":
        bounds.min = each.minimum;
        break;
      case "max_length":
        bounds.max = each.maximum;
        break;
      case "length_equals":
        bounds.min = each.length;
        bounds.max = each.length;
        break;
      case "greater_than":
        bounds.min = Number(each.value) + (each.inclusive ? 0 : 1);
        break;
      case "less_than":
        bounds.max = Number(each.value) - (each.inclusive ? 0 : 1);
        break;
      case "string_format":
        if (each.pattern !== undefined) bounds.pattern = each.pattern;
        break;
      default:
        break;
    }
  }
  return bounds;
}

/** Sometimes a text of the maximum length, because the limit itself must work. */
const LONGEST = 64 * 1024;

/** Values for refinements that random text does not satisfy. Nothing listens at these URLs, so calls fail immediately. */
const wellFormed = fc.constantFrom("http://127.0.0.1:9", "https://127.0.0.1:9", "http://[::1]:9", "a pool");

function strings(schema: z.core.$ZodType, { min = 0, max = 64, pattern }: Bounds): fc.Arbitrary<string> {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  if ("format" in def && def.format === "uuid") return fc.uuid();
  if (pattern?.source.includes("\\p{")) return fc.oneof(fc.string({ minLength: min, maxLength: max }), wellFormed);
  // A pattern alone could give a text that is too short.
  const enough = (text: string) => text.repeat(Math.max(1, Math.ceil(min / (text.length || 1))));
  if (pattern !== undefined) return fc.stringMatching(pattern).map((text) => (text.length < min ? enough(text) : text));
  if (def.checks?.some((check) => check._zod.def.check === "custom")) return fc.oneof(fc.string(), wellFormed);
  const lengths = { minLength: min, maxLength: Math.min(max, min + 24) };
  return fc.oneof(
    { arbitrary: fc.string(lengths), weight: 20 },
    { arbitrary: fc.string({ ...lengths, unit: "binary" }), weight: 10 },
    { arbitrary: fc.constantFrom("__proto__", "constructor", "toString"), weight: 1 },
    { arbitrary: fc.constant("x".repeat(Math.min(max, LONGEST))), weight: 1 },
  );
}

function numbers(schema: z.core.$ZodType, bounds: Bounds): fc.Arbitrary<number> {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  const least = Math.max(bounds.min ?? Number.MIN_SAFE_INTEGER, Number.MIN_SAFE_INTEGER);
  const most = Math.min(bounds.max ?? Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  const whole = "format" in def && def.format === "safeint";
  if (whole) return fc.oneof(fc.integer({ min: Math.max(least, -10), max: Math.min(most, 10) }), fc.constant(most));
  return fc.oneof(fc.double({ min: least, max: most, noNaN: true }), fc.constantFrom(least, most));
}
