import { ANY_OBJECT, readJsonSchema } from "../../schema/wire/json-schema.ts";
import type { ChatRequest } from "../../schema/wire/worker-frames.ts";
import { GrammarBuilder } from "./json-grammar.ts";
import type { CallableTool, CallSyntax } from "./tool-calls.ts";

/** What an answer must be. */
export type Constraint =
  | { readonly type: "none" }
  | { readonly type: "json"; readonly grammar: string }
  | {
      readonly type: "calls";
      readonly tools: readonly CallableTool[];
      readonly syntax: CallSyntax;
      readonly parallel: boolean;
      /** False: the model may as well answer in text. */
      readonly must: boolean;
    };

export type ReadConstraint =
  | { readonly ok: true; readonly constraint: Constraint }
  | { readonly ok: false; readonly param: string; readonly why: string };

/** The pool has read the same schemas; an agent still believes nobody. */
export function constraintOf(request: ChatRequest, syntax: CallSyntax | null): ReadConstraint {
  const { tools = [], toolChoice, responseFormat, parallelToolCalls = true } = request;
  if (tools.length > 0 && syntax !== null) {
    const named = typeof toolChoice === "object" ? tools.filter(({ name }) => name === toolChoice.name) : tools;
    const callable: CallableTool[] = [];
    for (const { name, parameters } of named) {
      const reading =
        parameters === undefined ? ({ ok: true, schema: ANY_OBJECT } as const) : readJsonSchema(parameters);
      if (!reading.ok) return { ok: false, param: "tools", why: `${name}: ${reading.message}` };
      callable.push({ name, parameters: reading.schema });
    }
    const must = toolChoice !== undefined;
    const parallel = parallelToolCalls && typeof toolChoice !== "object";
    return { ok: true, constraint: { type: "calls", tools: callable, syntax, parallel, must } };
  }
  if (responseFormat === undefined) return { ok: true, constraint: { type: "none" } };
  const reading =
    responseFormat.type === "json_object"
      ? ({ ok: true, schema: ANY_OBJECT } as const)
      : readJsonSchema(responseFormat.schema);
  if (!reading.ok) return { ok: false, param: "response_format", why: reading.message };
  const builder = new GrammarBuilder();
  return { ok: true, constraint: { type: "json", grammar: builder.grammar(builder.json(reading.schema)) } };
}
