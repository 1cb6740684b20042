import type { CallSyntax } from "./call-grammar.ts";

type CallPiece =
  | { readonly type: "call"; readonly name: string }
  | { readonly type: "arguments"; readonly text: string };

export interface CallReader {
  /** Takes the next part of the text and returns the calls and arguments in it. */
  push(text: string): CallPiece[];
}

/**
 * Reads calls out of a text that a call grammar allows, character by character as the text arrives.
 *
 * @param lead text that comes before the first call
 */
export function callReader(tools: readonly { name: string }[], syntax: CallSyntax, lead: string): CallReader {
  let expected = lead + syntax.open + syntax.prefix;
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
  const closesArguments = (char: string): boolean => {
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
    push(text) {
      const pieces: CallPiece[] = [];
      let argumentText = "";
      const flushArguments = () => {
        if (argumentText !== "") pieces.push({ type: "arguments", text: argumentText });
        argumentText = "";
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
            argumentText += char;
            if (closesArguments(char)) {
              flushArguments();
              expectLiteral(syntax.afterArguments(name), "next");
            }
            break;
          case "next":
            // Either another call begins, or this is the closing text, which needs no reading.
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
      flushArguments();
      return pieces;
    },
  };
}
