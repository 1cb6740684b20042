import type { ReadSchema } from "../../../schema/wire/schema-node.ts";
import { GrammarBuilder, literal } from "./json-grammar.ts";

/** How a model writes calls: its chat template's way, or where that has none the library's (`||call: name({…})`). */
export interface CallSyntax {
  /** Before the first call of an answer, and after the last. */
  readonly open: string;
  readonly close: string;
  /** Between two calls; null where one answer holds one call. */
  readonly between: string | null;
  /** Before the function's name, between it and its arguments, and after them. */
  readonly prefix: string;
  readonly beforeArguments: (name: string) => string;
  readonly afterArguments: (name: string) => string;
}

export interface CallableTool {
  readonly name: string;
  readonly parameters: ReadSchema;
}

/** In one answer: as many as anybody needs, and an end to a model that would go on for ever. */
const MOST_CALLS = 16;

/**
 * The grammar of an answer that is calls, or JSON of a format where there is one.
 * @param written what the first token held before the calls began; it is written again
 */
export function callGrammar(
  tools: readonly CallableTool[],
  syntax: CallSyntax,
  { parallel, written, format }: { parallel: boolean; written: string; format?: ReadSchema },
): string {
  const builder = new GrammarBuilder();
  const { open, close, between, prefix } = syntax;
  const names = tools.map(({ name, parameters }) =>
    [literal(name + syntax.beforeArguments(name)), builder.json(parameters), literal(syntax.afterArguments(name))].join(
      " ",
    ),
  );
  const call = builder.rule(`${literal(prefix)} (${names.join(" | ")})`);
  const more = parallel && between !== null ? `(${literal(between)} ${call}){0,${MOST_CALLS - 1}}` : "";
  const calls = `${literal(written + open)} ${call} ${more} ${literal(close)}`;
  return builder.grammar(format === undefined ? calls : `${calls} | ${builder.json(format)}`);
}

export function jsonGrammar(schema: ReadSchema): string {
  const builder = new GrammarBuilder();
  return builder.grammar(builder.json(schema));
}

/**
 * Whether a text that may be calls or JSON is one of calls; null while it may still be either. JSON of a format that
 * begins word for word like a call of one of the tools is taken for that call.
 */
export function isCall(text: string, tools: readonly { name: string }[], syntax: CallSyntax): boolean | null {
  const heads = tools.map(({ name }) => syntax.open + syntax.prefix + name + syntax.beforeArguments(name));
  if (heads.some((head) => text.startsWith(head))) return true;
  return heads.some((head) => head.startsWith(text)) ? null : false;
}

/**
 * What in a text says that calls begin here. The first word of it: models are not exact about the white space after.
 * A bare brace says so at the beginning of an answer only.
 */
export function callTrigger({ open, prefix }: CallSyntax): { text: string; atStartOnly: boolean } {
  const lead = (open + prefix).trim();
  const [word = ""] = lead.split(/\s/);
  const text = word.length >= 3 ? word : lead;
  return { text, atStartOnly: text.startsWith("{") };
}

type CallPiece =
  | { readonly type: "call"; readonly name: string }
  | { readonly type: "arguments"; readonly text: string };

/** Reads what such a grammar lets through, as it comes. Pure: a state machine over characters. */
export function callReader(tools: readonly { name: string }[], syntax: CallSyntax, written: string) {
  let expected = written + syntax.open + syntax.prefix;
  let then: "name" | "arguments" | "next" = "name";
  let state: "literal" | "name" | "arguments" | "next" = "literal";
  let name = "";
  let held = "";
  let depth = 0;
  let inString = false;
  let escaped = false;
  const heads = tools.map((tool) => ({ name: tool.name, head: tool.name + syntax.beforeArguments(tool.name) }));

  const expectLiteral = (text: string, after: typeof then) => {
    expected = text;
    then = after;
    state = text === "" ? after : "literal";
    held = "";
  };
  const closes = (char: string): boolean => {
    if (inString) {
      if (escaped) escaped = false;
      else if (char === "\\") escaped = true;
      else if (char === '"') inString = false;
      return false;
    }
    if (char === '"') inString = true;
    else if (char === "{" || char === "[") depth += 1;
    else if (char === "}" || char === "]") depth -= 1;
    return depth === 0;
  };

  return {
    push(text: string): CallPiece[] {
      const pieces: CallPiece[] = [];
      let said = "";
      const sayArguments = () => {
        if (said !== "") pieces.push({ type: "arguments", text: said });
        said = "";
      };
      for (const char of text) {
        switch (state) {
          case "literal":
            held += char;
            if (held.length >= expected.length) {
              state = then;
              held = "";
            }
            break;
          case "name": {
            held += char;
            const found = heads.find(({ head }) => head === held);
            if (found) {
              ({ name } = found);
              pieces.push({ type: "call", name });
              state = "arguments";
              held = "";
            }
            break;
          }
          case "arguments":
            said += char;
            if (closes(char)) {
              sayArguments();
              expectLiteral(syntax.afterArguments(name), "next");
            }
            break;
          case "next":
            // Another call, or the close, whose characters say nothing.
            held += char;
            if (held === (syntax.between ?? "") + syntax.prefix) {
              state = "name";
              held = "";
            }
            break;
          default:
            state satisfies never;
        }
      }
      sayArguments();
      return pieces;
    },
  };
}
