/** A piece of generated text and the tokens it took. */
export interface Piece {
  readonly text: string;
  readonly tokens: number;
}

export interface StopFilter {
  /** What may go out now; `stopped` names the stop sequence that is complete: nothing more comes after that. */
  push(piece: Piece): { readonly out: Piece; readonly stopped: string | null };
  /** The text was over without a stop sequence: what was held back goes out. */
  flush(): Piece;
}

/**
 * Holds back the end of the text while it may still become a stop sequence, so that no part of one is ever emitted,
 * also when it spans tokens. The earliest stop sequence in the text wins.
 *
 * A token counts as delivered with its first character; tokens that a stop sequence swallowed whole are not counted,
 * because the pool bounds completion tokens by the bytes it relayed (docs/spec/workers.md#metering).
 */
export function stopFilter(stopSequences: readonly string[]): StopFilter {
  // Text is whole characters: half of one never occurs in it, and must not make a cut inside one.
  const stops = stopSequences.filter((stop) => stop !== "" && stop.isWellFormed());
  const longest = Math.max(0, ...stops.map((stop) => stop.length));
  let text = "";
  let starts: { offset: number; tokens: number }[] = [];

  /** Cuts the first `chars` UTF-16 units off what is held. */
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
      return { out: release(text.length - heldChars(text, stops, longest)), stopped: null };
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

/** The longest end of `text` that is a proper beginning of a stop sequence. */
function heldChars(text: string, stops: readonly string[], longest: number): number {
  for (let length = Math.min(text.length, longest - 1); length > 0; length--) {
    const end = text.slice(text.length - length);
    if (stops.some((stop) => stop.length > length && stop.startsWith(end))) return length;
  }
  return 0;
}
