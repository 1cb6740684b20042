/** References between schemas: JSON pointers (RFC 6901) in a URI fragment. */

export const isPointer = (ref: string) => ref === "#" || ref.startsWith("#/");

/** The target of a pointer into `root`. Undefined if there is none. */
export function findTarget(root: unknown, ref: string): unknown {
  if (!isPointer(ref)) return undefined;
  let found: unknown = root;
  for (const part of ref.split("/").slice(1)) {
    const name = decoded(part).replaceAll("~1", "/").replaceAll("~0", "~");
    if (typeof found !== "object" || found === null || !Object.hasOwn(found, name)) return undefined;
    found = (found as Record<string, unknown>)[name];
  }
  return found;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
