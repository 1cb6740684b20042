/**
 * Why a text cannot be sent as a secret in an HTTP header (RFC 9110 section 5.5); null if it can. The answer never quotes
 * the text. Checked before sending, because Node's own error quotes the whole header.
 */
export function secretProblem(text: string): string | null {
  const at = [...text].findIndex((char) => char < " " || char > "~");
  if (at < 0) return null;
  const char = [...text][at] ?? "";
  const what = /[\r\n]/.test(char)
    ? "a line break"
    : /\p{Cc}/u.test(char)
      ? "a control character"
      : "a character that is not ASCII";
  return `contains ${what} (character ${at + 1})`;
}
