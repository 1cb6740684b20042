import { LIMITS } from "../../schema/wire/limits.ts";

interface Delta {
  readonly text: string;
  readonly tokens: number;
}

export interface Coalescer {
  /** Takes generated text; answers the deltas that must go out now. */
  push(piece: Delta, nowMs: number): Delta[];
  /** When what is held must go out at the latest; null while nothing is held. */
  dueMs(): number | null;
  /** What is held, split to the frame's limits. */
  flush(): Delta[];
}

/**
 * Joins tokens into deltas of at most 16 tokens or 25 ms (docs/spec/workers.md#socket-protocol), which saves frames without being visible.
 * The first text goes out at once: time to first token is what a person notices. Pure: time comes in.
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

/** Cuts text to the frame's limit without cutting a surrogate pair; all tokens count with the first part. */
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
