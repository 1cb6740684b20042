/** A size as memory and model files are sold: `1.25 GB`. */
export function formatGigabytes(bytes: number, digits = 2): string {
  return `${(bytes / 1e9).toFixed(digits)} GB`;
}
