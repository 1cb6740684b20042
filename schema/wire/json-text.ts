/** The value of a JSON text; undefined where the text is not JSON. The caller validates the value. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
