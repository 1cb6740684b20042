import { oneLine } from "../../terminal-text.ts";

/** Pads each column to its widest cell. Without rows it returns the text `none`. */
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

/** Makes text from other people safe to print: it cannot control the terminal. */
export function printable(text: string | null): string {
  return oneLine(text ?? "");
}
