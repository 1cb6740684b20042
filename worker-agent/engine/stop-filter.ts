/** A piece of generated text and the number of tokens in it. */
export interface Piece {
  readonly text: string;
  readonly tokens: number;
}

export interface StopFilter {
  /** `out` may be sent now. `stopped` is the stop sequence that is complete; the answer ends there. */
  push(piece: Piece): { readonly out: Piece; readonly stopped: string | null };
  /** The answer ended without a stop sequence: returns the text that was held back. */
  flush(): Piece;
}

/**
 * Holds back the end of the text while it can still become a stop sequence, so that no part of a stop sequence is ever
 * sent, even if the sequence spans tokens. The earliest stop sequence in the text wins.
 *
 * A token counts with its first character. Tokens that lie inside a stop sequence are not counted, because the pool
 * bounds completion tokens by the bytes that it relayed (docs/spec/workers.md#metering).
 */
export function stopFilter(stopSequences: readonly string[]): StopFilter {
  // Text consists of complete characters. Half a surrogate pair never matches it and must not cut a character in two.
  const stops = stopSequences.filter((stop) => stop !== "" && stop.isWellFormed());
  const maxStopChars = Math.max(0, ...stops.map((stop) => stop.length));
  let text = "";
  let starts: { offset: number; tokens: number }[] = [];

  /** Removes the first `chars` UTF-16 units of the held text and returns them. */
  const release = (chars: number): Piece => {
    const out = text.slice(0, chars);
    let tokens = 0;
    const later: typeof starts = [];
    for (const start of starts) {
      if (start.offset < chars) tokens += start.tokens;
      else later.push({ offset: start.offset - chars, tokens: start.tokens });
    }
    text = text.slice(chars);
    starts = later;
    return { text: out, tokens: Math.min(tokens, Buffer.byteLength(out)) };
  };

  return {
    push(piece) {
      if (piece.text === "") return { out: { text: "", tokens: 0 }, stopped: null };
      starts.push({ offset: text.length, tokens: piece.tokens });
      text += piece.text;
      const found = firstStop(text, stops);
      if (found !== null) {
        const out = release(found.at);
        text = "";
        starts = [];
        return { out, stopped: found.stop };
      }
      return { out: release(text.length - heldChars(text, stops, maxStopChars)), stopped: null };
    },
    flush: () => release(text.length),
  };
}

function firstStop(text: string, stops: readonly string[]): { at: number; stop: string } | null {
  let first: { at: number; stop: string } | null = null;
  for (const stop of stops) {
    const at = text.indexOf(stop);
    if (at >= 0 && (first === null || at < first.at)) first = { at, stop };
  }
  return first;
}

/** The length of the longest end of `text` that is a proper prefix of a stop sequence. */
function heldChars(text: string, stops: readonly string[], maxStopChars: number): number {
  for (let length = Math.min(text.length, maxStopChars - 1); length > 0; length--) {
    const end = text.slice(text.length - length);
    if (stops.some((stop) => stop.length > length && stop.startsWith(end))) return length;
  }
  return 0;
}
