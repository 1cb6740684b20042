/** Whether two rows of one table have the same content, in any order of columns. */
export function sameRow(a: object, b: object): boolean {
  const sorted = (row: object) => JSON.stringify(Object.entries(row).sort(([x], [y]) => (x < y ? -1 : 1)));
  return sorted(a) === sorted(b);
}
