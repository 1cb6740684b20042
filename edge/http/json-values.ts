/**
 * Whether JSON text holds more than `most` values, the whole included; of text that is no JSON, anything. Asked before
 * a parser and a validator look: a parser keeps much for each `[` of `[[[[…`, a validator says something of every value
 * that is wrong, and a small body can hold a million of them. Reads no further than it must.
 */
export function hasMoreValuesThan(most: number, text: string): boolean {
  let values = 1;
  /** Right after a `[` or `{`: what comes next is its first member, unless it ends. */
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

/** Where the string that begins here ends; strings are most of what is long, so they are not looked at by character. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text[end - 1 - backslashes] === "\\") backslashes += 1;
    // An escaped backslash before it escapes nothing.
    if (backslashes % 2 === 0) return end;
  }
  return text.length;
}
