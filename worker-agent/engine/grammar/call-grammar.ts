import type { ReadSchema } from "../../../schema/wire/json-schema/schema-node.ts";
import { GrammarBuilder, literal } from "./json-grammar.ts";

/** How a model writes tool calls: as its chat template does, else as the library does (`||call: name({…})`). */
export interface CallSyntax {
  /** Text before the first call of an answer, and after the last. */
  readonly open: string;
  readonly close: string;
  /** Text between two calls. Null if an answer holds one call only. */
  readonly between: string | null;
  /** Text before the function's name, between the name and the arguments, and after the arguments. */
  readonly prefix: string;
  readonly beforeArguments: (name: string) => string;
  readonly afterArguments: (name: string) => string;
}

export interface CallableTool {
  readonly name: string;
  readonly parameters: ReadSchema;
}

/** The limit of calls in one answer. It stops a model that would never end. */
const MAX_CALLS = 16;

/**
 * The grammar of an answer that consists of calls, or of JSON if there is a format.
 *
 * @param lead text that the first token held before the calls began; the grammar writes it again
 */
export function callGrammar(
  tools: readonly CallableTool[],
  syntax: CallSyntax,
  { parallel, lead, format }: { parallel: boolean; lead: string; format?: ReadSchema },
): string {
  const builder = new GrammarBuilder();
  const { open, close, between, prefix } = syntax;
  const names = tools.map(({ name, parameters }) =>
    [literal(name + syntax.beforeArguments(name)), builder.json(parameters), literal(syntax.afterArguments(name))].join(
      " ",
    ),
  );
  const call = builder.rule(`${literal(prefix)} (${names.join(" | ")})`);
  const more = parallel && between !== null ? `(${literal(between)} ${call}){0,${MAX_CALLS - 1}}` : "";
  const calls = `${literal(lead + open)} ${call} ${more} ${literal(close)}`;
  return builder.grammar(format === undefined ? calls : `${calls} | ${builder.json(format)}`);
}

/** The GBNF grammar of an answer that is JSON of this schema. */
export function jsonGrammar(schema: ReadSchema): string {
  const builder = new GrammarBuilder();
  return builder.grammar(builder.json(schema));
}

/**
 * Whether a text that may be calls or JSON consists of calls. Null while it can still be either. JSON whose beginning
 * equals the beginning of a call counts as that call.
 */
export function isCall(text: string, tools: readonly { name: string }[], syntax: CallSyntax): boolean | null {
  const heads = tools.map(({ name }) => syntax.open + syntax.prefix + name + syntax.beforeArguments(name));
  if (heads.some((head) => text.startsWith(head))) return true;
  return heads.some((head) => head.startsWith(text)) ? null : false;
}

/**
 * The text that shows that calls begin: the first word of the syntax, because models vary the white space after it. A
 * lone brace counts only at the start of an answer.
 */
export function callTrigger({ open, prefix }: CallSyntax): { text: string; atStartOnly: boolean } {
  const lead = (open + prefix).trim();
  const [word = ""] = lead.split(/\s/);
  const text = word.length >= 3 ? word : lead;
  return { text, atStartOnly: text.startsWith("{") };
}
