import type { Bounds } from "./number-bounds.ts";
import type { Pattern } from "./string-pattern.ts";

/** The part of JSON Schema that a worker can enforce while it generates, as `json-schema.ts` reads it. */
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
  /** Of members with other names, where there are no properties; null: there are none. */
  readonly rest: SchemaNode | null;
}

export interface Property {
  readonly name: string;
  readonly required: boolean;
  readonly node: SchemaNode;
}

export interface ArrayNode {
  readonly kind: "array";
  /** What the list begins with, in this order. */
  readonly prefix: readonly SchemaNode[];
  /** What follows, and how many of them. */
  readonly items: SchemaNode;
  readonly min: number;
  readonly max: number | null;
}

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

export interface ReadSchema {
  readonly root: SchemaNode;
  /** By pointer: `#`, `#/$defs/name`. */
  readonly definitions: ReadonlyMap<string, SchemaNode>;
}

export const ANY: SchemaNode = Object.freeze({ kind: "any" });
export const ANY_OBJECT: ObjectNode = Object.freeze({ kind: "object", properties: [], rest: ANY });
export const NO_MEMBERS: ObjectNode = Object.freeze({ kind: "object", properties: [], rest: null });
