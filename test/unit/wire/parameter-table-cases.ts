import { describe, expect, it } from "vitest";
import * as z from "zod";
import { type ClientApi, type ParsedBody, parseClientBody } from "../../../schema/wire/client-api.ts";
import { type Row, rowsOf } from "../../../schema/wire/parameter-table.ts";

/** What a test must know of an API to test each row of its table. */
export interface TableCases<T> {
  readonly api: ClientApi<T>;
  /** The minimal body. */
  readonly body: Record<string, unknown>;
  /** By name, `messages[tool]`: the minimal object of that shape, as part of a body. */
  readonly shapes: Readonly<Record<string, Record<string, unknown>>>;
  /** By the row's name, for each used parameter except `role` and `type`: two values that request different things. */
  readonly used: Readonly<Record<string, readonly [unknown, unknown]>>;
  /** Rows whose values are validated and change nothing. */
  readonly checkedOnly?: readonly string[];
  /** All that is made of a body: what a worker gets, and what decides about the answer. */
  read(body: T): unknown;
}

/** Tries each row of an API's table. */
export function tableCases<T>(what: string, cases: TableCases<T>): void {
  const { api } = cases;
  const rows = rowsOf(api.parameters);
  const { shaped, optional } = shapeNames(z.toJSONSchema(api.body, { io: "input", unrepresentable: "any" }));
  const of = (...treatments: Row["treatment"][]) => rows.filter(({ treatment }) => treatments.includes(treatment));
  const parse = (body: unknown) => parseClientBody(api, body);
  const asks = (row: Row, value: unknown) => {
    const parsed: ParsedBody<T> = parse(sample(cases, row.name, value).body);
    return parsed.ok ? cases.read(parsed.body) : parsed;
  };

  describe(what, () => {
    it("has a shape for each parameter that is used, and for no other", () => {
      const names = [...new Set(of("used").map(({ name }) => withoutTags(name)))];
      expect(names.sort()).toEqual([...shaped].sort());
    });

    const isTag = ({ name }: Row) => /\.(role|type)$/.test(name);
    it.each(of("used").filter((row) => !isTag(row)))("$name reaches the worker or the answer", (row) => {
      const [one, other] = cases.used[row.name] ?? expect.fail("the test has no values for it");
      const [askedOne, askedOther] = [asks(row, one), asks(row, other)];
      expect([askedOne, askedOther]).toEqual([
        expect.not.objectContaining({ ok: false }),
        expect.not.objectContaining({ ok: false }),
      ]);
      if (cases.checkedOnly?.includes(row.name)) expect(askedOne).toEqual(askedOther);
      else expect(askedOne).not.toEqual(askedOther);
    });
    it.each(of("used").filter(isTag))("$name says which shape it is", (row) => {
      expect(asks(row, "nothing-known")).toMatchObject({ ok: false, param: sample(cases, row.name, "").param });
    });

    it.each(of("hint"))("$name is accepted and changes nothing", (row) => {
      const without = asks(row, ABSENT);
      for (const value of [null, true, 7, "x", {}, [], { a: [1] }]) expect(asks(row, value)).toEqual(without);
    });

    it.each(of("neutral"))("$name is accepted while it asks for nothing", (row) => {
      const without = asks(row, ABSENT);
      for (const value of [null, ...(row.values ?? [])]) expect(asks(row, value)).toEqual(without);
    });

    it.each(of("neutral", "refused"))("$name is refused by name, with what to do instead", (row) => {
      for (const value of ["something", 3, true, { a: 1 }, ["x"]]) {
        if (row.values?.includes(value)) continue;
        expect(asks(row, value)).toEqual({
          ok: false,
          code: row.code ?? "http/unsupported-parameter",
          param: sample(cases, row.name, value).param,
          message: expect.stringContaining(row.note ?? "a note"),
          remedy: row.instead ?? expect.stringMatching(/^[A-Z].*\.$/),
        });
      }
    });

    it.each(of("used").filter((row) => optional.has(withoutTags(row.name)) && !isTag(row)))(
      "$name is accepted as null",
      (row) => {
        expect(asks(row, null)).toEqual(asks(row, ABSENT));
      },
    );
    it.each(of("refused").filter(({ name }) => !name.endsWith("]")))("$name is accepted as null", (row) => {
      expect(asks(row, null)).toEqual(asks(row, ABSENT));
    });
  });
}

const ABSENT = Symbol("absent");

/** The least body in which the named parameter has a value; and how a refusal names it. */
function sample<T>(
  { body: least, shapes }: Pick<TableCases<T>, "body" | "shapes">,
  name: string,
  value: unknown,
): { body: unknown; param: string } {
  const body = structuredClone(least);
  const param: string[] = [];
  let at: Record<string, unknown> = body;
  let sofar = "";
  const segments = name.split(".");
  for (const [i, segment] of segments.entries()) {
    const [, key = "", tag] = /^(\w+)(?:\[(\w+)\])?$/.exec(segment) ?? [];
    sofar = sofar === "" ? segment : `${sofar}.${segment}`;
    param.push(key);
    const isLast = i === segments.length - 1;
    if (tag === undefined) {
      if (!isLast) {
        at[key] ??= {};
        at = at[key] as Record<string, unknown>;
      } else if (value === ABSENT) delete at[key];
      else at[key] = value;
      continue;
    }
    const isArray = ["messages", "content", "tools", "tool_calls", "input", "output", "system"].includes(key);
    const by = key === "messages" ? "role" : "type";
    const shape = structuredClone(shapes[sofar] ?? { [by]: tag });
    if (isLast) param.push(...(isArray ? ["0", by] : [by]));
    else if (isArray) param.push("0");
    if (isLast && value === ABSENT) at[key] = [];
    else at[key] = isArray ? [shape] : shape;
    at = shape;
  }
  return { body, param: param.join(".") };
}

const withoutTags = (name: string) => name.replaceAll(/\[\w+\]/g, "");

/** The names of the members that a JSON schema has, without those of records; and of those that may be absent. */
function shapeNames(schema: unknown): { shaped: Set<string>; optional: Set<string> } {
  const [shaped, optional] = [new Set<string>(), new Set<string>()];
  const walk = (node: unknown, path: string): void => {
    if (typeof node !== "object" || node === null) return;
    const { properties, required, items, anyOf, oneOf } = node as Record<string, unknown>;
    for (const alternative of [anyOf, oneOf].flat()) walk(alternative, path);
    walk(items, path);
    for (const [key, member] of Object.entries(properties ?? {})) {
      const name = path === "" ? key : `${path}.${key}`;
      shaped.add(name);
      if (!(required as string[] | undefined)?.includes(key)) optional.add(name);
      walk(member, name);
    }
  };
  walk(schema, "");
  return { shaped, optional };
}
