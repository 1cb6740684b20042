/**
 * Text from models, pools and peers must not control a terminal: move its cursor, set its clipboard, hide or reorder text.
 * Control (Cc) and format (Cf) characters can. Each is one code point, so a stream can be filtered piece by piece.
 */
const CONTROL = /[\p{Cc}\p{Cf}]/gu;
const CONTROL_BUT_LINES = /(?![\n\t])[\p{Cc}\p{Cf}]/gu;

/** For a log line or a table cell. A replacement character shows where something was removed. */
export function oneLine(text: string): string {
  return text.replace(CONTROL, "�");
}

/** For text of several lines, such as an answer. Removes control characters except line ends and tabs. */
export function manyLines(text: string): string {
  return text.replace(CONTROL_BUT_LINES, "");
}

/** JSON on one line, with all control and format characters escaped. `JSON.stringify` escapes only some of them. */
export function jsonLine(value: object): string {
  return JSON.stringify(value).replace(CONTROL, (char) => {
    const units = Array.from({ length: char.length }, (_, i) => char.charCodeAt(i));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
  });
}
