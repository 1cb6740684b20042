/** A pseudorandom number generator: sfc32 (Chris Doty-Humphrey, PractRand). The same seed gives the same numbers. */
export class Prng {
  #a = 0x9e3779b9;
  #b = 0x243f6a88;
  #c: number;
  #counter = 1;

  constructor(seed: number) {
    this.#c = seed >>> 0;
    for (let i = 0; i < 12; i++) this.next();
  }

  /** In [0, 1). */
  next(): number {
    const sum = (this.#a + this.#b + this.#counter++) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return (sum >>> 0) / 2 ** 32;
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  flip(probability = 0.5): boolean {
    return this.next() < probability;
  }

  /** Throws for an empty list. */
  pick<T>(from: readonly T[]): T {
    const index = this.below(from.length);
    if (index >= from.length) throw new RangeError("nothing to pick from");
    return from[index] as T;
  }

  /** Picks an element and removes it from the list. */
  draw<T>(from: T[]): T {
    const drawn = this.pick(from);
    from.splice(from.indexOf(drawn), 1);
    return drawn;
  }

  shuffled<T>(list: readonly T[]): T[] {
    const left = [...list];
    return list.map(() => this.draw(left));
  }

  /** A function that returns a key at each call, with the probability of its weight. */
  lottery<K extends string>(weights: Readonly<Record<K, number>>): () => K {
    const entries = Object.entries(weights) as [K, number][];
    const total = entries.reduce((sum, [, weight]) => sum + weight, 0);
    return () => {
      let left = this.next() * total;
      for (const [key, weight] of entries) {
        left -= weight;
        if (left < 0) return key;
      }
      throw new RangeError("nothing has weight");
    };
  }
}
