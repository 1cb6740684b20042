import { createReadStream } from "node:fs";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { systemReason } from "../../worker-agent/cli/shared/system-reason.ts";

/** More than the line of the largest event. A file with longer lines is no export. */
const LINE_CHARS = 1024 * 1024;

/** The lines of a file. Holds one line in memory, and refuses one that is too long for an export. */
export async function* linesOf(file: string): AsyncGenerator<string> {
  let rest = "";
  try {
    for await (const piece of createReadStream(file, { encoding: "utf8" })) {
      const lines = (rest + String(piece)).split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
      if (rest.length > LINE_CHARS)
        throw new OperatorError(`${file} is not an export: it has a line that is too long.`);
    }
  } catch (error) {
    const reason = systemReason(error);
    throw reason === null ? error : new OperatorError(`Cannot read ${file}: ${reason}.`);
  }
  if (rest !== "") yield rest;
}
