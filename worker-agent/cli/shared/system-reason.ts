/** Errors that a person can correct. https://man7.org/linux/man-pages/man3/errno.3.html */
const REASONS: Readonly<Record<string, string>> = Object.freeze({
  EACCES: "permission denied",
  EPERM: "operation not permitted",
  EDQUOT: "the disk quota of this account is used up",
  EFBIG: "the file would exceed the file size limit of this account",
  EISDIR: "this is a folder, not a file",
  ELOOP: "too many symbolic links",
  EMFILE: "this process has too many open files (see ulimit -n)",
  ENAMETOOLONG: "the name is too long",
  ENFILE: "this machine has too many open files",
  ENOENT: "no such file or folder",
  ENOSPC: "no space left on the disk",
  ENOTDIR: "a part of the path is a file, not a folder",
  EROFS: "the disk is read-only",
});

/** SQLite's messages for a full disk. workerd and D1 pass them on as text. */
const FULL_DISK = /SQLITE_FULL|disk is full|no space left/i;

/** Why the operating system refused an operation; null if the error does not come from the system. */
export function systemReason(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  if ("code" in error && typeof error.code === "string") {
    const reason = Object.hasOwn(REASONS, error.code) ? REASONS[error.code] : undefined;
    if (reason !== undefined) return `${reason} (${error.code})`;
  }
  if (FULL_DISK.test(error.message)) return REASONS.ENOSPC ?? null;
  return error.cause === undefined || error.cause === error ? null : systemReason(error.cause);
}

/** Formats an error that no part of the program expected. */
export function formatUnexpected(error: unknown): string {
  const reason = systemReason(error);
  if (reason !== null) {
    const path = error instanceof Error && "path" in error && typeof error.path === "string" ? error.path : null;
    return path === null ? `Cannot continue: ${reason}.` : `Cannot use ${path}: ${reason}.`;
  }
  const detail = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return `Internal error in Ligand (${detail.slice(0, 500)}). Please report it. LIGAND_STACK=1 adds the stack.`;
}
