/** https://man7.org/linux/man-pages/man3/errno.3.html: what a person can do something about. */
const REASONS: Readonly<Record<string, string>> = Object.freeze({
  EACCES: "this account may not do that there",
  EPERM: "this account may not do that there",
  EDQUOT: "this account's share of the disk is used up",
  EFBIG: "the file would be larger than this account may make one",
  EISDIR: "it is a folder, and a file is wanted",
  ELOOP: "its symbolic links lead in a circle",
  EMFILE: "this process has as many files open as it may (see ulimit -n)",
  ENAMETOOLONG: "its name is too long",
  ENFILE: "this machine has as many files open as it can",
  ENOENT: "it is not there",
  ENOSPC: "there is no room left on the disk",
  ENOTDIR: "a part of its path is a file and not a folder",
  EROFS: "that disk can only be read",
});

/** SQLite's own words, which come through workerd and D1 as text. */
const FULL_DISK = /SQLITE_FULL|disk is full|no space left/i;

/** Pure: why the system refused something, in words; null for what is no error of the system. */
export function systemReason(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  if ("code" in error && typeof error.code === "string") {
    const reason = Object.hasOwn(REASONS, error.code) ? REASONS[error.code] : undefined;
    if (reason !== undefined) return `${reason} (${error.code})`;
  }
  if (FULL_DISK.test(error.message)) return REASONS.ENOSPC ?? null;
  return error.cause === undefined || error.cause === error ? null : systemReason(error.cause);
}

/** Pure: an error that no part of the program expected, as a sentence for whoever ran it. */
export function unexpectedWords(error: unknown): string {
  const reason = systemReason(error);
  if (reason !== null) {
    const path = error instanceof Error && "path" in error && typeof error.path === "string" ? error.path : null;
    return path === null ? `It cannot go on: ${reason}.` : `${path} cannot be used: ${reason}.`;
  }
  const said = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return `Something went wrong inside Ligand (${said.slice(0, 500)}). Please report it; with LIGAND_STACK=1 it says where.`;
}
