import type { Bounds } from "./number-bounds.ts";
import type { Pattern } from "./string-pattern.ts";

/** The part of JSON Schema that a worker can enforce while it generates. `json-schema.ts` reads schemas into this form. */
export type SchemaNode =
  | { readonly kind: "any" | "boolean" | "null" }
  | { readonly kind: "literals"; readonly values: readonly Json[] }
  | { readonly kind: "string"; readonly min: number; readonly max: number | null }
  | { readonly kind: "pattern"; readonly pattern: Pattern }
  | { readonly kind: "number"; readonly integer: boolean; readonly bounds: Bounds | null }
  | ObjectNode
  | ArrayNode
  | { readonly kind: "union"; readonly branches: readonly SchemaNode[] }
  /** A key of `definitions`. */
  | { readonly kind: "ref"; readonly to: string };

export interface ObjectNode {
  readonly kind: "object";
  readonly properties: readonly Property[];
  /** The schema of members with other names, if there are no properties. Null if other members are not allowed. */
  readonly rest: SchemaNode | null;
}

export interface Property {
  readonly name: string;
  readonly required: boolean;
  readonly node: SchemaNode;
}

export interface ArrayNode {
  readonly kind: "array";
  /** The first items, in this order. */
  readonly prefix: readonly SchemaNode[];
  /** The items after the prefix. `min` and `max` count only these. */
  readonly items: SchemaNode;
  readonly min: number;
  readonly max: number | null;
}

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

export interface ReadSchema {
  readonly root: SchemaNode;
  /** By JSON pointer: `#`, `#/$defs/name`. */
  readonly definitions: ReadonlyMap<string, SchemaNode>;
}

export const ANY: SchemaNode = Object.freeze({ kind: "any" });
export const ANY_OBJECT: ObjectNode = Object.freeze({ kind: "object", properties: [], rest: ANY });
export const NO_MEMBERS: ObjectNode = Object.freeze({ kind: "object", properties: [], rest: null });
