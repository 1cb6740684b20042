import { readJsonSchema, readToolParameters } from "../../../schema/wire/json-schema.ts";
import { measureJson } from "../../../schema/wire/json-size.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { SchemaBudget } from "../../../schema/wire/schema-budget.ts";
import { ANY_OBJECT, type ReadSchema } from "../../../schema/wire/schema-node.ts";
import type { ChatRequest } from "../../../schema/wire/worker-frames.ts";
import type { CallableTool, CallSyntax } from "../grammar/call-grammar.ts";

/** What an answer must be. */
export type Constraint =
  | { readonly type: "none" }
  | { readonly type: "json"; readonly schema: ReadSchema }
  | {
      readonly type: "calls";
      readonly tools: readonly CallableTool[];
      readonly syntax: CallSyntax;
      readonly parallel: boolean;
      /** Instead of calls: nothing else, any text, or JSON of a schema. */
      readonly otherwise: "nothing" | "text" | ReadSchema;
    };

export type ReadConstraint =
  | { readonly ok: true; readonly constraint: Constraint }
  | { readonly ok: false; readonly param: string; readonly why: string };

/**
 * What can be enforced is enforced, and the rest passes. The pool has read the same schemas, and has refused what is not
 * enforced where the client asked for that (`strict`): so the agent need not know of it. It still believes nobody.
 */
export function constraintOf(request: ChatRequest, syntax: CallSyntax | null): ReadConstraint {
  const { tools = [], toolChoice, responseFormat, parallelToolCalls = true } = request;
  // One budget in the pool's order: tools first. Fewer of them here leave more of it.
  const mode = { strict: false, budget: new SchemaBudget() };
  const callable: CallableTool[] = [];
  if (syntax !== null) {
    for (const { name, parameters } of tools) {
      if (typeof toolChoice === "object" && name !== toolChoice.name) continue;
      if (!isMeasured(parameters)) return { ok: false, param: "tools", why: `${name}: ${TOO_LARGE}` };
      const reading = readToolParameters(parameters, mode);
      if (!reading.ok) return { ok: false, param: "tools", why: `${name}: ${reading.message}` };
      callable.push({ name, parameters: reading.schema });
    }
  }
  if (responseFormat?.type === "json_schema" && !isMeasured(responseFormat.schema)) {
    return { ok: false, param: "response_format", why: TOO_LARGE };
  }
  const format = formatOf(responseFormat, mode);
  if (format !== null && !format.ok) return { ok: false, param: "response_format", why: format.message };
  if (syntax === null || callable.length === 0) {
    return { ok: true, constraint: format === null ? { type: "none" } : { type: "json", schema: format.schema } };
  }
  const parallel = parallelToolCalls && typeof toolChoice !== "object";
  const otherwise = toolChoice !== undefined ? "nothing" : (format?.schema ?? "text");
  return { ok: true, constraint: { type: "calls", tools: callable, syntax, parallel, otherwise } };
}

const TOO_LARGE = "The schema is too large, or nested too deep.";

const isMeasured = (schema: unknown): boolean =>
  schema === undefined || measureJson(schema, { bytes: LIMITS.schemaBytes, depth: LIMITS.schemaDepth }).ok;

function formatOf(format: ChatRequest["responseFormat"], mode: Parameters<typeof readJsonSchema>[1]) {
  if (format === undefined) return null;
  if (format.type === "json_schema") return readJsonSchema(format.schema, mode);
  return { ok: true, schema: { root: ANY_OBJECT, definitions: new Map() } } as const;
}
