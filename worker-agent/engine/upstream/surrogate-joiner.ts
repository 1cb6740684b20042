export interface WholeCharacters {
  push(text: string): string;
  flush(): string;
}

/** Joins the halves of a character that a server put into two events; half a character without its other is U+FFFD. */
export function wholeCharacters(): WholeCharacters {
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
