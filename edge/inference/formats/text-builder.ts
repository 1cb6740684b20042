/** A text that comes in small pieces. Pure. */

/** V8 keeps each short piece of an appended text as an object of some 32 bytes until the text is made flat. */
const FLAT_AFTER_CHARS = 1_024;

export class GatheredText {
  readonly #flat: string[] = [];
  #tail = "";

  add(piece: string): void {
    this.#tail += piece;
    if (this.#tail.length < FLAT_AFTER_CHARS) return;
    this.#flat.push(JSON.parse(JSON.stringify(this.#tail)));
    this.#tail = "";
  }

  /** The whole text, which is then forgotten. */
  take(): string {
    const text = this.#flat.join("") + this.#tail;
    this.#flat.length = 0;
    this.#tail = "";
    return text;
  }
}
