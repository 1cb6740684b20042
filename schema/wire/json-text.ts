/** RFC 8259 section 8.1: UTF-8. A byte order mark is kept, and so is no JSON. */
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** As `parseJson`, for UTF-8 bytes: undefined also where the bytes are not UTF-8. */
export function parseJsonBytes(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(UTF8.decode(bytes));
  } catch {
    return undefined;
  }
}

/** The value of a JSON text; undefined where the text is not JSON. The caller validates the value. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
