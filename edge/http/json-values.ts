/**
 * Whether a JSON value holds more than `most` values, itself included. Asked before a validator
 * looks: it says something of every value that is wrong, and a small body can hold a million of them. Without recursion,
 * for the nesting is a stranger's too.
 */
export function hasMoreValuesThan(most: number, json: unknown): boolean {
  const containers: unknown[] = [json];
  let values = 1;
  for (let container = containers.pop(); container !== undefined; container = containers.pop()) {
    if (typeof container !== "object" || container === null) continue;
    const members: unknown[] = Array.isArray(container) ? container : Object.values(container);
    values += members.length;
    if (values > most) return true;
    for (const member of members) if (typeof member === "object" && member !== null) containers.push(member);
  }
  return false;
}
