import fc from "fast-check";

/** JSON as text: with duplicate members, numbers beyond a double, and worse. */
export type Json = { object: [string, Json][] } | { array: Json[] } | { raw: string };

export function toJson(value: unknown): Json {
  if (Array.isArray(value)) return { array: value.map(toJson) };
  if (typeof value === "object" && value !== null) {
    const present = Object.entries(value).filter(([, member]) => member !== undefined);
    return { object: present.map(([name, member]) => [name, toJson(member)]) };
  }
  return { raw: JSON.stringify(value) ?? "null" };
}

export function writeJson(json: Json): string {
  if ("raw" in json) return json.raw;
  if ("array" in json) return `[${json.array.map(writeJson).join(",")}]`;
  return `{${json.object.map(([name, member]) => `${JSON.stringify(name)}:${writeJson(member)}`).join(",")}}`;
}

type Mutation =
  | { kind: "drop" | "wrap" | "twice" | "empty" }
  | { kind: "replace"; text: string }
  | { kind: "add" | "repeat-name"; name: string; text: string };

const NAMES = ["extra", "__proto__", "constructor", "toString", "hasOwnProperty", "", "\u0000", "model", "type", "n"];

const ODD_VALUES = [
  ...["null", "true", "false", "0", "-0", "-1", "1", "0.5", "1e308", "1e999", "-1e999", "9007199254740993", "1e-400"],
  ...["NaN", "Infinity", "undefined", "'x'", "{}", "[]", '""', '"NaN"', '"\\ud800"', '"\\udc00x"', '"\\u0000"'],
  ...["[null]", "[[]]", '["\\ud800"]', '{"__proto__":{"x":1}}', '{"constructor":{"prototype":{}}}', '"__proto__"'],
  ...['{"type":"image_url"}', '{"type":"json_schema"}', '"tool"', '{"length":1e9}', '"2026-01-01"', "[1,2,3]"],
];

const big = fc
  .tuple(
    fc.constantFrom<(n: number) => string>(
      (n) => `"${"x".repeat(n)}"`,
      (n) => `"${"\\u0000".repeat(n / 6)}"`,
      (n) => `[${"0,".repeat(n / 2)}0]`,
      (n) => `[${"{},".repeat(n / 3)}{}]`,
      (n) => "[".repeat(n / 2) + "]".repeat(n / 2),
      (n) => `${'{"a":'.repeat(n / 6)}1${"}".repeat(n / 6)}`,
      (n) => `{${Array.from({ length: n / 12 }, (_, i) => `"k${i}":0`).join(",")}}`,
      (n) => "9".repeat(n),
    ),
    fc.constantFrom(600, 6_000, 60_000, 300_000),
  )
  .map(([make, n]) => make(n));

const text = fc.oneof(
  { arbitrary: fc.constantFrom(...ODD_VALUES), weight: 30 },
  { arbitrary: fc.jsonValue({ maxDepth: 2 }).map((value) => JSON.stringify(value)), weight: 10 },
  { arbitrary: big, weight: 1 },
);

const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ kind: fc.constantFrom("drop", "wrap", "twice", "empty") }),
  fc.record({ kind: fc.constant("replace"), text }),
  fc.record({ kind: fc.constantFrom("add", "repeat-name"), name: fc.constantFrom(...NAMES), text }),
);

/** The text of a value with one wrong or unusual detail. */
export function nearly(values: fc.Arbitrary<unknown>): fc.Arbitrary<string> {
  return fc.tuple(values, fc.nat(), mutation).map(([value, at, change]) => {
    const root: Json = { array: [toJson(value)] };
    const places = placesIn(root);
    const place = places[at % places.length];
    if (place) mutate(place, change);
    return root.array.map(writeJson).join("");
  });
}

interface Place {
  parent: { object: [string, Json][] } | { array: Json[] };
  index: number;
}

function placesIn(json: Json): Place[] {
  if ("raw" in json) return [];
  const children = "array" in json ? json.array : json.object.map(([, member]) => member);
  return children.flatMap((child, index) => [{ parent: json, index }, ...placesIn(child)]);
}

function mutate({ parent, index }: Place, change: Mutation): void {
  const put = (json: Json) => {
    if ("array" in parent) parent.array[index] = json;
    else parent.object[index] = [parent.object[index]?.[0] ?? "", json];
  };
  const node = "array" in parent ? parent.array[index] : parent.object[index]?.[1];
  if (!node) return;
  switch (change.kind) {
    case "drop":
      if ("array" in parent) parent.array.splice(index, 1);
      else parent.object.splice(index, 1);
      break;
    case "wrap":
      put({ array: [node] });
      break;
    case "twice":
      put({ array: [node, node] });
      break;
    case "empty":
      put("raw" in node ? { raw: '""' } : "array" in node ? { array: [] } : { object: [] });
      break;
    case "replace":
      put({ raw: change.text });
      break;
    case "add":
      if ("object" in node) node.object.push([change.name, { raw: change.text }]);
      else if ("array" in node) node.array.push({ raw: change.text });
      else put({ object: [[change.name, { raw: change.text }]] });
      break;
    case "repeat-name":
      if ("object" in parent) parent.object.push([parent.object[index]?.[0] ?? "", { raw: change.text }]);
      else put({ raw: change.text });
      break;
    default:
      change satisfies never;
  }
}

const HOSTILE_TEXT = [
  ...["", " ", "\u0000", "{", "}", "[", '"', "null", "true", "0", "-", "1e", "[]", "{}", "[{}]", "{}{}", "{},", "//x"],
  ...['{"a":1', '{"a"}', "{'a':1}", '{"a":01}', '"\\x"', '"\\u12"', "NaN", "\ufeff{}", "<x/>", "PING", "pong", "ping "],
  ...["[".repeat(100_000), '{"a":'.repeat(100_000), "9".repeat(100_000)],
];

/** Bytes unrelated to a schema: other JSON, truncated text, invalid UTF-8, noise. */
export function hostile(values: fc.Arbitrary<unknown>): fc.Arbitrary<Buffer> {
  const honest = values.map((value) => Buffer.from(writeJson(toJson(value))));
  const cut = fc.tuple(honest, fc.nat()).map(([bytes, at]) => bytes.subarray(0, at % (bytes.length + 1)));
  const broken = fc.tuple(honest, fc.nat(), fc.constantFrom(0x00, 0x80, 0xc0, 0xff, 0xed)).map(([bytes, at, byte]) => {
    const copy = Buffer.from(bytes);
    if (copy.length > 0) copy[at % copy.length] = byte;
    return copy;
  });
  return fc.oneof(
    { arbitrary: fc.json({ maxDepth: 4 }).map((json) => Buffer.from(json)), weight: 3 },
    { arbitrary: cut, weight: 3 },
    { arbitrary: broken, weight: 3 },
    { arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)), weight: 3 },
    { arbitrary: fc.constantFrom(...HOSTILE_TEXT).map((each) => Buffer.from(each)), weight: 2 },
    { arbitrary: honest.map((bytes) => Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), bytes])), weight: 1 },
  );
}
