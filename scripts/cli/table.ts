import { oneLine } from "../../worker-agent/terminal-text.ts";

/** Pure: columns padded to their widest cell; a line of words when there are no rows. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], none: string): string {
  if (rows.length === 0) return none;
  const lines = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...lines.map((cells) => (cells[column] ?? "").length)));
  return lines
    .map((cells) =>
      cells
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** Labels are people's own words: nothing in them may steer the terminal. */
export function printable(text: string | null): string {
  return oneLine(text ?? "");
}
