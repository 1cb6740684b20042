/**
 * Whether JSON text has more than `most` values, counting nested ones and the whole. For text that is not JSON the
 * result means nothing. Check this before parsing and validating: a small body can have a million values, a parser uses
 * much memory for each `[` of `[[[[…`, and a validator reports every wrong value. Stops reading as soon as the result
 * is known.
 */
export function hasMoreValuesThan(most: number, text: string): boolean {
  let values = 1;
  /** Right after a `[` or `{`: the next token is its first member, or ends it. */
  let isFresh = false;
  for (let i = 0; i < text.length && values <= most; i++) {
    switch (text.charCodeAt(i)) {
      case 0x20:
      case 0x09:
      case 0x0a:
      case 0x0d:
        break;
      case 0x2c: // ,
        values += 1;
        break;
      case 0x5b: // [
      case 0x7b: // {
        if (isFresh) values += 1;
        isFresh = true;
        break;
      case 0x5d: // ]
      case 0x7d: // }
        isFresh = false;
        break;
      default:
        if (isFresh) values += 1;
        isFresh = false;
        if (text[i] === '"') i = endOfString(text, i);
    }
  }
  return values > most;
}

/** The end of the string that begins at `start`. Long texts are mostly strings, so `indexOf` skips them. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text[end - 1 - backslashes] === "\\") backslashes += 1;
    // With an even number of backslashes the quote is not escaped.
    if (backslashes % 2 === 0) return end;
  }
  return text.length;
}
