import { readJsonSchema, readToolParameters } from "../../../schema/wire/json-schema/json-schema.ts";
import { measureJson } from "../../../schema/wire/json-schema/json-size.ts";
import { SchemaBudget } from "../../../schema/wire/json-schema/schema-budget.ts";
import { ANY_OBJECT, type ReadSchema } from "../../../schema/wire/json-schema/schema-node.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { ChatRequest } from "../../../schema/wire/worker-frames.ts";
import type { CallableTool, CallSyntax } from "../grammar/call-grammar.ts";

/** The form that an answer must have. */
export type Constraint =
  | { readonly type: "none" }
  | { readonly type: "json"; readonly schema: ReadSchema }
  | {
      readonly type: "calls";
      readonly tools: readonly CallableTool[];
      readonly syntax: CallSyntax;
      readonly parallel: boolean;
      /** What the answer may be instead of calls: nothing, any text, or JSON of a schema. */
      readonly otherwise: "nothing" | "text" | ReadSchema;
    };

export type ConstraintReading =
  | { readonly ok: true; readonly constraint: Constraint }
  | { readonly ok: false; readonly param: string; readonly message: string };

/**
 * Reads the response format and the tools of a request. Keywords that a grammar cannot enforce are ignored: the pool has
 * read the same schemas and has refused such keywords if the client asked for `strict`. The agent reads the schemas again
 * because it does not trust the pool.
 */
export function readConstraint(request: ChatRequest, syntax: CallSyntax | null): ConstraintReading {
  const { tools = [], toolChoice, responseFormat, parallelToolCalls = true } = request;
  // All schemas share one budget, in the same order as in the pool: tools first. Unread tools only leave more budget.
  const mode = { strict: false, budget: new SchemaBudget() };
  const callable: CallableTool[] = [];
  if (syntax !== null) {
    for (const { name, parameters } of tools) {
      if (typeof toolChoice === "object" && name !== toolChoice.name) continue;
      if (!isWithinSize(parameters)) return { ok: false, param: "tools", message: `${name}: ${TOO_LARGE}` };
      const reading = readToolParameters(parameters, mode);
      if (!reading.ok) return { ok: false, param: "tools", message: `${name}: ${reading.message}` };
      callable.push({ name, parameters: reading.schema });
    }
  }
  if (responseFormat?.type === "json_schema" && !isWithinSize(responseFormat.schema)) {
    return { ok: false, param: "response_format", message: TOO_LARGE };
  }
  const format = formatOf(responseFormat, mode);
  if (format !== null && !format.ok) return { ok: false, param: "response_format", message: format.message };
  if (syntax === null || callable.length === 0) {
    return { ok: true, constraint: format === null ? { type: "none" } : { type: "json", schema: format.schema } };
  }
  const parallel = parallelToolCalls && typeof toolChoice !== "object";
  const otherwise = toolChoice !== undefined ? "nothing" : (format?.schema ?? "text");
  return { ok: true, constraint: { type: "calls", tools: callable, syntax, parallel, otherwise } };
}

const TOO_LARGE = "The schema is too large or too deeply nested.";

const isWithinSize = (schema: unknown): boolean =>
  schema === undefined || measureJson(schema, { bytes: LIMITS.schemaBytes, depth: LIMITS.schemaDepth }).ok;

function formatOf(format: ChatRequest["responseFormat"], mode: Parameters<typeof readJsonSchema>[1]) {
  if (format === undefined) return null;
  if (format.type === "json_schema") return readJsonSchema(format.schema, mode);
  return { ok: true, schema: { root: ANY_OBJECT, definitions: new Map() } } as const;
}
