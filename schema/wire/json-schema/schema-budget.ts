import { LIMITS } from "../limits.ts";

/** The budget of all schemas of one request: steps for reading them, and rules of the grammars made from them. */
export class SchemaBudget {
  #steps: number = LIMITS.schemaStepsPerRequest;
  #rules: number = LIMITS.schemaRulesPerRequest;
  readonly #paid = new Set<string>();

  /** @throws OverBudget if the request has used all its steps */
  step(count: number): void {
    this.#steps -= count;
    if (this.#steps < 0) throw new OverBudget();
  }

  /**
   * Takes rules for a repetition that is written out. Returns false, and takes none, if too few are left.
   *
   * @param key identifies the repetition: one that occurs several times in the schemas is written, and paid for, once
   */
  takeRules(count: number, key?: string): boolean {
    if (key !== undefined && this.#paid.has(key)) return true;
    if (count > this.#rules) return false;
    this.#rules -= count;
    if (key !== undefined) this.#paid.add(key);
    return true;
  }
}

/** `json-schema.ts` turns it into a refusal. */
export class OverBudget extends Error {}
