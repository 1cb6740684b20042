import { createRequire } from "node:module";
import * as ts from "typescript";

/**
 * The names of all parameters in a request type of an npm package, read from its types:
 * `messages[assistant].tool_calls[function].id`. A shape with a `role` or `type` is named by it, in brackets; other
 * shapes have no brackets. `isOpaque` below says below which names nothing is listed.
 */
export function publishedParameters(
  module: string,
  types: readonly string[],
  isOpaque: (name: string) => boolean,
): Set<string> {
  const file = createRequire(import.meta.url)
    .resolve(module)
    .replace(/\.(m?)js$/, ".d.$1ts");
  const options = { noEmit: true, skipLibCheck: true, strict: true, types: [], module: ts.ModuleKind.NodeNext };
  const program = ts.createProgram([file], options);
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(file);
  const symbol = source && checker.getSymbolAtLocation(source);
  if (!symbol) throw new Error(`${file} has no types`);
  const names = new Set<string>();
  for (const exported of checker.getExportsOfModule(symbol)) {
    if (types.includes(exported.name))
      listMembers(checker, checker.getDeclaredTypeOfSymbol(exported), "", names, isOpaque);
  }
  return names;
}

function listMembers(
  checker: ts.TypeChecker,
  type: ts.Type,
  prefix: string,
  names: Set<string>,
  isOpaque: (name: string) => boolean,
): void {
  for (const shape of shapesOf(checker, type)) {
    const tag = prefix === "" ? null : tagOf(checker, shape);
    const path = tag === null ? prefix : `${prefix}[${tag}]`;
    if (tag !== null && isOpaque(path)) {
      names.add(path);
      continue;
    }
    for (const member of checker.getPropertiesOfType(shape)) {
      const name = path === "" ? member.name : `${path}.${member.name}`;
      if (names.has(name) && path === "") continue;
      names.add(name);
      if (!isOpaque(name)) listMembers(checker, checker.getTypeOfSymbol(member), name, names, isOpaque);
    }
  }
}

/** The object types among the alternatives of a type, including those of an array's items. */
function shapesOf(checker: ts.TypeChecker, type: ts.Type): ts.Type[] {
  if (type.isUnion()) return type.types.flatMap((one) => shapesOf(checker, one));
  if (checker.isArrayType(type))
    return checker.getTypeArguments(type as ts.TypeReference).flatMap((one) => shapesOf(checker, one));
  // `string & {}` is a string.
  if (type.isIntersection()) return type.types.some((one) => one.flags & ts.TypeFlags.StringLike) ? [] : [type];
  return type.flags & ts.TypeFlags.Object ? [type] : [];
}

function tagOf(checker: ts.TypeChecker, shape: ts.Type): string | null {
  for (const name of ["role", "type"]) {
    const member = checker.getPropertyOfType(shape, name);
    const type = member && checker.getTypeOfSymbol(member);
    if (type?.isStringLiteral()) return type.value;
  }
  return null;
}
