/** RFC 8259 section 8.1: JSON is UTF-8. The decoder keeps a byte order mark, so that text with one is not JSON. */
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** As `parseJson`, for bytes: undefined also if they are not UTF-8. */
export function parseJsonBytes(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(UTF8.decode(bytes));
  } catch {
    return undefined;
  }
}

/** The value of a JSON text; undefined if the text is not JSON. The caller validates the value. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
