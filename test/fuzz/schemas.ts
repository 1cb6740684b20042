import fc from "fast-check";

type Schema = Record<string, unknown>;

const strict = (properties: Schema): Schema => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
});

/** Small schemas that once were too much for a worker: their alternatives double at every step. */
export const ENDLESS_CHOICES: Readonly<Record<string, Schema>> = Object.freeze({
  "a name that stands twice in the next": {
    $ref: "#/$defs/d0",
    $defs: Object.fromEntries(
      Array.from({ length: 41 }, (_, i) => {
        const next = { $ref: `#/$defs/d${i + 1}` };
        return [`d${i}`, i === 40 ? { type: "null" } : { anyOf: [next, next] }];
      }),
    ),
  },
  "objects that begin alike, in one another": {
    $ref: "#/$defs/d0",
    $defs: Object.fromEntries(
      Array.from({ length: 9 }, (_, i) => {
        const a = { $ref: `#/$defs/d${i + 1}` };
        const anyOf = ["b", "c", "d", "e"].map((name) => strict({ a, [name]: { type: "null" } }));
        return [`d${i}`, i === 8 ? { type: "null" } : { anyOf }];
      }),
    ),
  },
  "a tree whose branches begin alike": {
    anyOf: [
      strict({ left: { $ref: "#" }, kind: { const: 1 } }),
      strict({ left: { $ref: "#" }, kind: { const: 2 } }),
      {},
    ],
  },
  "lists that begin alike": {
    $ref: "#/$defs/d0",
    $defs: Object.fromEntries(
      Array.from({ length: 13 }, (_, i) => {
        const items = { $ref: `#/$defs/d${i + 1}` };
        const anyOf = [1, 2].map((minItems) => ({ type: "array", items, minItems }));
        return [`d${i}`, i === 12 ? { type: "null" } : { anyOf }];
      }),
    ),
  },
});

const NAMES = ["a", "b", "c", "kind"];
const DEFINITIONS = ["d0", "d1", "d2"];

const { node } = fc.letrec<{ node: Schema }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 4, depthIdentifier: "schema" },
    fc.constantFrom<Schema[]>({ type: "null" }, { type: "boolean" }, { const: 1 }, { enum: ["x", "xy"] }, {}),
    fc.constantFrom<Schema[]>({ type: "number" }, { type: "string", maxLength: 3 }, { format: "date", type: "string" }),
    fc
      .record({
        type: fc.constantFrom("integer", "number"),
        minimum: fc.maxSafeInteger(),
        maximum: fc.maxSafeInteger(),
      })
      .map(({ type, ...bounds }): Schema => {
        const [minimum, maximum] = Object.values(bounds).sort((a, b) => a - b);
        return { type, minimum, maximum };
      }),
    fc.constantFrom<Schema[]>(
      { type: "string", pattern: "^[ab]{1,3}$" },
      { type: "string", pattern: "x|^(?:y\\d)+", minLength: 1 },
      { type: "string", pattern: "(?=x)", format: "email" },
      { type: "integer", multipleOf: 3, maximum: 9 },
      { $ref: "https://example.com/schema" },
      { not: { type: "string" } },
    ),
    fc
      .array(tie("node"), { minLength: 1, maxLength: 3 })
      .chain((prefixItems) =>
        fc.constantFrom<Schema[]>({ prefixItems, items: false }, { prefixItems, maxItems: 2 }, { items: prefixItems }),
      ),
    fc
      .array(tie("node"), { minLength: 1, maxLength: 2 })
      .chain((all) =>
        fc.constantFrom<Schema[]>({ oneOf: all }, { allOf: all }, { anyOf: all, type: "object", required: ["a"] }),
      ),
    fc.constantFrom(...DEFINITIONS).map((name): Schema => ({ $ref: `#/$defs/${name}` })),
    fc.array(tie("node"), { minLength: 1, maxLength: 4 }).map((anyOf): Schema => ({ anyOf })),
    fc.record({ items: tie("node"), minItems: fc.nat(2) }).map((more): Schema => ({ type: "array", ...more })),
    fc
      .tuple(fc.dictionary(fc.constantFrom(...NAMES), tie("node"), { maxKeys: 3 }), fc.subarray(NAMES))
      .map(([properties, required]): Schema => {
        const there = required.filter((name) => Object.hasOwn(properties, name));
        return { type: "object", properties, required: there };
      }),
  ),
}));

/** Objects with or without a common beginning, and with references. */
const alike = fc
  .array(fc.tuple(fc.constantFrom("a", "a", "b"), fc.constantFrom(...DEFINITIONS), fc.constantFrom(1, 2, 3)), {
    minLength: 1,
    maxLength: 3,
  })
  .map((them): Schema => {
    const objects = them.map(([name, to, kind]) =>
      strict({ [name]: { $ref: `#/$defs/${to}` }, kind: { const: kind } }),
    );
    return { anyOf: [{ type: "null" }, ...objects] };
  });

/** Nested alternatives, also by reference. Some can be enforced, others must be refused. */
export const schemas: fc.Arbitrary<Schema> = fc
  .tuple(node, fc.record(Object.fromEntries(DEFINITIONS.map((name) => [name, fc.oneof(node, alike)]))))
  .map(([root, $defs]) => ({ allOf: [root], $defs }));
