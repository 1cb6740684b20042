/** A size in decimal gigabytes, the usual unit of memory and model files: `1.25 GB`. */
export function formatGigabytes(bytes: number, digits = 2): string {
  return `${(bytes / 1e9).toFixed(digits)} GB`;
}
