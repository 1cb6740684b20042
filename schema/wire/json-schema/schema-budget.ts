import { LIMITS } from "../limits.ts";

/** What all schemas of one request may take together: steps of reading them, and rules of the grammar they become. */
export class SchemaBudget {
  #steps: number = LIMITS.schemaStepsPerRequest;
  #rules: number = LIMITS.schemaRulesPerRequest;
  readonly #paid = new Set<string>();

  /** @throws OverBudget where the request has used its steps */
  step(count: number): void {
    this.#steps -= count;
    if (this.#steps < 0) throw new OverBudget();
  }

  /**
   * Takes rules for a repetition that is written out; false, and nothing taken, where too few are left.
   * @param key the same repetition is written once, however often it stands in the schemas
   */
  takeRules(count: number, key?: string): boolean {
    if (key !== undefined && this.#paid.has(key)) return true;
    if (count > this.#rules) return false;
    this.#rules -= count;
    if (key !== undefined) this.#paid.add(key);
    return true;
  }
}

/** `json-schema.ts` makes a refusal of it. */
export class OverBudget extends Error {}
