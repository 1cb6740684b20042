/**
 * The treatment of the members of a published request, as a tree, and its application to a body: hints and neutral values
 * are removed, and unsupported parameters are refused by name. The tables are in `api-parameters.ts`.
 */
export type Treatment = "used" | "hint" | "neutral" | "refused";

interface Entry {
  /** A sentence for the documentation and, if the value is refused, for the client. */
  readonly note?: string;
  /** The client's alternative, as a sentence. */
  readonly instead?: string;
  /** For a refusal that clients recognise by its own code. */
  readonly code?: Refusal["code"];
  /** Some clients send it, but the API that is described does not publish it. */
  readonly isUnpublished?: true;
}
export type Parameter = Entry &
  (
    | {
        readonly treatment: "used";
        readonly below?: Below;
        /** Published values that are not supported, if a list of shapes cannot describe them. */
        readonly refuses?: { when(value: unknown): boolean; note: string; instead: string };
      }
    /** Accepted whatever its value, and without effect. */
    | { readonly treatment: "hint" }
    /** Only these values and null are accepted, because they change nothing. */
    | { readonly treatment: "neutral"; readonly values: readonly unknown[] }
    /** Only null is accepted, because it changes nothing. */
    | { readonly treatment: "refused" }
  );

/** The members of an object, or of each object in an array. */
export interface Members {
  readonly members: Readonly<Record<string, Parameter>>;
  /**
   * Whether members without an entry are ignored, because they only describe an earlier answer. Otherwise they are
   * refused.
   */
  readonly ignoresOthers?: true;
}
/** Objects of several shapes: the member `by` says which one. */
export interface Variants {
  readonly by: "role" | "type";
  readonly variants: Readonly<Record<string, Variant>>;
  /** The shape of an object without that member. */
  readonly absent?: string;
  /** The treatment of a shape without an entry. If absent, the schema reports what is wrong. */
  readonly others?: Refused;
}
type Refused = Entry & { readonly treatment: "refused"; readonly note: string; readonly instead: string };
export type Variant =
  | (Entry & Members & { readonly treatment: "used" })
  | (Entry & { readonly treatment: "hint" })
  | Refused;
export type Below = Members | Variants;

type Notes = Entry & { readonly note: string };
export const used = (below?: Below, entry: Entry = {}): Parameter => ({
  treatment: "used",
  ...(below && { below }),
  ...entry,
});
export const hint = (note: string, entry: Entry = {}) => ({ treatment: "hint", note, ...entry }) as const;
export const neutral = (values: readonly unknown[], entry: Notes): Parameter => ({
  treatment: "neutral",
  values,
  ...entry,
});
export const refused = (note: string, instead: string, entry: Entry = {}) =>
  ({ treatment: "refused", note, instead, ...entry }) as const;
export const shape = (members: Members["members"], more: Pick<Members, "ignoresOthers"> = {}): Variant & Members => ({
  treatment: "used",
  members,
  ...more,
});

/** One row of a table: the name of a parameter, `messages[assistant].tool_calls[function].id`, and its treatment. */
export interface Row extends Entry {
  readonly name: string;
  readonly treatment: Treatment;
  readonly values?: readonly unknown[];
  /** Of a used parameter whose values are not all supported: `note` and `instead` are about the others. */
  readonly isPartly?: true;
}

/** The rows of a table, with those of nested members. */
export function rowsOf({ members }: Members, prefix = ""): Row[] {
  return Object.entries(members).flatMap(([key, parameter]) => {
    const name = `${prefix}${key}`;
    const refuses = parameter.treatment === "used" ? parameter.refuses : undefined;
    const { note, instead } = refuses ?? parameter;
    const row: Row = {
      name,
      treatment: parameter.treatment,
      ...(note !== undefined && { note }),
      ...(instead !== undefined && { instead }),
      ...(parameter.code && { code: parameter.code }),
      ...(parameter.isUnpublished && { isUnpublished: true }),
      ...(refuses && { isPartly: true }),
      ...(parameter.treatment === "neutral" && { values: parameter.values }),
    };
    const below = parameter.treatment === "used" ? parameter.below : undefined;
    if (below === undefined) return [row];
    if ("members" in below) return [row, ...rowsOf(below, `${name}.`)];
    const variants = Object.entries(below.variants).flatMap(([tag, variant]): Row[] => {
      if (variant.treatment !== "used") return [{ ...variant, name: `${name}[${tag}]` }];
      const rows = rowsOf(variant, `${name}[${tag}].`);
      return variant.isUnpublished ? rows.map((each) => ({ ...each, isUnpublished: true })) : rows;
    });
    return [row, ...variants];
  });
}

export interface Refusal {
  readonly code: "http/unsupported-parameter" | "http/unknown-parameter" | "http/threads-unsupported";
  readonly param: string;
  readonly message: string;
  readonly remedy?: string;
}
type Treated = { readonly value: unknown } | { readonly problem: Refusal } | "left-out";

/**
 * Returns the body without parameters that have no effect, or its first unknown or unsupported parameter. Values of a
 * wrong type stay in the body, and the schema reports them.
 */
export function treat(body: object, table: Members): { body: Record<string, unknown> } | { problem: Refusal } {
  const treated = treatMembers(body, table, []);
  return "problem" in treated ? treated : { body: treated.value };
}

function treatMembers(
  given: object,
  { members, ignoresOthers }: Members,
  at: readonly string[],
): { value: Record<string, unknown> } | { problem: Refusal } {
  // The copy has no prototype, so that a member called __proto__ is one more unknown parameter.
  const kept: Record<string, unknown> = Object.create(null);
  for (const name in given) {
    const parameter = Object.hasOwn(members, name) ? members[name] : undefined;
    const value = (given as Record<string, unknown>)[name];
    if (parameter === undefined) {
      // Many clients send null for every parameter that they do not set.
      if (ignoresOthers || value === null) continue;
      return notKnown([...at, name]);
    }
    const treated = treatParameter(value, parameter, [...at, name]);
    if (treated === "left-out") continue;
    if ("problem" in treated) return treated;
    kept[name] = treated.value;
  }
  return { value: kept };
}

function treatParameter(value: unknown, parameter: Parameter, at: readonly string[]): Treated {
  switch (parameter.treatment) {
    case "used":
      if (parameter.refuses?.when(value)) return unsupported(at, parameter.refuses);
      return parameter.below === undefined ? { value } : treatBelow(value, parameter.below, at);
    case "hint":
      return "left-out";
    case "neutral": {
      if (value === null || parameter.values.some((asksNothing) => isSameJson(asksNothing, value))) return "left-out";
      return unsupported(at, parameter, " with this value");
    }
    case "refused":
      return value === null ? "left-out" : unsupported(at, parameter);
    default:
      return parameter satisfies never;
  }
}

function treatBelow(value: unknown, below: Below, at: readonly string[]): Treated {
  if (typeof value !== "object" || value === null) return { value };
  if (!Array.isArray(value)) return treatShape(value, below, at);
  const kept: unknown[] = [];
  for (const [i, item] of value.entries()) {
    const isObject = typeof item === "object" && item !== null && !Array.isArray(item);
    const treated = isObject ? treatShape(item, below, [...at, String(i)]) : { value: item };
    if (treated === "left-out") continue;
    if ("problem" in treated) return treated;
    kept.push(treated.value);
  }
  return { value: kept };
}

function treatShape(value: object, below: Below, at: readonly string[]): Treated {
  if ("members" in below) return treatMembers(value, below, at);
  const tag = (value as Record<string, unknown>)[below.by] ?? below.absent;
  // The schema reports a shape without a name.
  if (typeof tag !== "string") return { value };
  const variant = Object.hasOwn(below.variants, tag) ? below.variants[tag] : below.others;
  if (variant === undefined) return { value };
  // Only this shape of the parameter is refused, as the note says.
  if (variant.treatment === "refused") {
    const { note: message, instead: remedy } = variant;
    return { problem: { code: "http/unsupported-parameter", param: nameAt([...at, below.by]), message, remedy } };
  }
  return variant.treatment === "hint" ? "left-out" : treatMembers(value, variant, at);
}

function unsupported(
  at: readonly string[],
  { note, instead, code = "http/unsupported-parameter" }: Entry,
  withValue = "",
): { problem: Refusal } {
  const param = nameAt(at);
  const message = `The parameter ${param} is not supported${withValue}.${note === undefined ? "" : ` ${note}`}`;
  return { problem: { code, param, message, ...(instead !== undefined && { remedy: instead }) } };
}

function notKnown(at: readonly string[]): { problem: Refusal } {
  const param = nameAt(at);
  return { problem: { code: "http/unknown-parameter", param, message: `The parameter ${param} is not known.` } };
}

const nameAt = (at: readonly string[]) => at.join(".").slice(0, 100);

/** The first value comes from a table and is small, so a value with more members is unequal at once. */
function isSameJson(a: unknown, b: unknown): boolean {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  for (const key in b) if (!Object.hasOwn(a, key)) return false;
  return Object.entries(a).every(
    ([key, value]) => Object.hasOwn(b, key) && isSameJson(value, (b as Record<string, unknown>)[key]),
  );
}
