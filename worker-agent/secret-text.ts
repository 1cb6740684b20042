/**
 * Pure: why a text cannot be a secret that is sent in an HTTP header (RFC 9110 section 5.5); null where it can. It never
 * repeats the text. What sends such a text in spite of that gets an error which quotes all of it.
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
  return `holds ${what} (character ${at + 1})`;
}
