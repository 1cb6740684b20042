/**
 * What models, pools and peers say must not steer a terminal: move its cursor, set its clipboard, hide or turn words.
 * Control (Cc) and format (Cf) characters do that, and each is a code point of its own, so that a stream may be filtered
 * piece by piece.
 */
const STEERING = /[\p{Cc}\p{Cf}]/gu;
const STEERING_IN_LINES = /(?![\n\t])[\p{Cc}\p{Cf}]/gu;

/** For a log's line or a table's cell: what was taken out can be seen. */
export function oneLine(text: string): string {
  return text.replace(STEERING, "�");
}

/** For text of several lines, such as an answer: what steers is left out, line ends and tabs stay. */
export function manyLines(text: string): string {
  return text.replace(STEERING_IN_LINES, "");
}

/** JSON on one line that means the same and steers nothing: `JSON.stringify` alone escapes only some of them. */
export function jsonLine(value: object): string {
  return JSON.stringify(value).replace(STEERING, (steering) => {
    const units = Array.from({ length: steering.length }, (_, i) => steering.charCodeAt(i));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
  });
}
