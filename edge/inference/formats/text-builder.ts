/** Builds a text from many small pieces. */

/**
 * Flatten the text in steps of this length, because V8 keeps each appended piece as an object of about 32 bytes until
 * the text is flattened.
 */
const FLAT_AFTER_CHARS = 1_024;

/** A text that grows by small pieces, with bounded memory for the pieces. */
export class TextBuilder {
  readonly #flat: string[] = [];
  #tail = "";

  add(piece: string): void {
    this.#tail += piece;
    if (this.#tail.length < FLAT_AFTER_CHARS) return;
    this.#flat.push(JSON.parse(JSON.stringify(this.#tail)));
    this.#tail = "";
  }

  /** Returns the whole text and starts again with an empty one. */
  take(): string {
    const text = this.#flat.join("") + this.#tail;
    this.#flat.length = 0;
    this.#tail = "";
    return text;
  }
}
