import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { isErrno } from "./files.ts";

/**
 * Makes a folder and those above it; false where it was there. Throws the system's error where that cannot be.
 *
 * Node's own `recursive` goes round for ever where a file system takes no folders and says that the one above is
 * missing, as `/proc` does.
 */
export function makeFolder(path: string, mode = 0o777): boolean {
  if (isFolder(path)) return false;
  if (dirname(path) !== path) makeFolder(dirname(path), mode);
  try {
    mkdirSync(path, { mode });
    return true;
  } catch (error) {
    // Another process was first; or it is a file, or a link into nowhere.
    if (isErrno(error, "EEXIST") && isFolder(path)) return false;
    throw error;
  }
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
