import { LIMITS } from "../../schema/wire/limits.ts";

interface Delta {
  readonly text: string;
  readonly tokens: number;
}

export interface Coalescer {
  /** Takes generated text and returns the deltas that must be sent now. */
  push(piece: Delta, nowMs: number): Delta[];
  /** When the held text must be sent at the latest; null if none is held. */
  dueMs(): number | null;
  /** Returns the held text, split into deltas of the frame's size. */
  flush(): Delta[];
}

/**
 * Joins tokens into deltas of at most 16 tokens or 25 ms (docs/spec/workers.md#socket-protocol), which saves frames. People
 * do not notice the delay. The first text is sent at once, because a person notices the time to the first token.
 */
export function coalescer(
  limits: { readonly tokens: number; readonly ms: number; readonly chars: number } = {
    tokens: LIMITS.deltaTokens,
    ms: LIMITS.deltaCoalesceMs,
    chars: LIMITS.deltaTextChars,
  },
): Coalescer {
  let text = "";
  let tokens = 0;
  let sinceMs: number | null = null;
  let first = true;

  const flush = (): Delta[] => {
    const out = split(text, tokens, limits.chars);
    text = "";
    tokens = 0;
    sinceMs = null;
    return out;
  };

  return {
    push(piece, nowMs) {
      if (piece.text === "") return [];
      text += piece.text;
      tokens += piece.tokens;
      sinceMs ??= nowMs;
      const full = tokens >= limits.tokens || text.length >= limits.chars || nowMs - sinceMs >= limits.ms;
      if (!first && !full) return [];
      first = false;
      return flush();
    },
    dueMs: () => (sinceMs === null ? null : sinceMs + limits.ms),
    flush,
  };
}

/** Splits text to the frame's limit, never inside a surrogate pair. The first part carries the count of all tokens. */
function split(text: string, tokens: number, chars: number): Delta[] {
  const parts: Delta[] = [];
  for (let at = 0; at < text.length; ) {
    let end = Math.min(text.length, at + chars);
    if (end < text.length && end - at > 1 && isHighSurrogate(text.charCodeAt(end - 1))) end--;
    parts.push({ text: text.slice(at, end), tokens: parts.length === 0 ? tokens : 0 });
    at = end;
  }
  return parts;
}

const isHighSurrogate = (unit: number) => unit >= 0xd800 && unit <= 0xdbff;
