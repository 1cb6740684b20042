export interface SurrogateJoiner {
  push(text: string): string;
  flush(): string;
}

/**
 * Joins the two halves of a character that a server split over two events. A half without its other half becomes U+FFFD.
 */
export function surrogateJoiner(): SurrogateJoiner {
  let half = "";
  return {
    push(text) {
      const joined = half + text;
      const last = joined.charCodeAt(joined.length - 1);
      half = last >= 0xd800 && last <= 0xdbff ? joined.slice(-1) : "";
      return joined.slice(0, joined.length - half.length).toWellFormed();
    },
    flush() {
      const rest = half.toWellFormed();
      half = "";
      return rest;
    },
  };
}
