import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { isErrno } from "./files.ts";

/**
 * Makes a folder and its parents. False if the folder exists. Throws the system's error if it cannot be made.
 *
 * Node's `recursive` option loops forever on file systems such as `/proc`, which take no folders and report a missing
 * parent instead.
 */
export function makeFolder(path: string, mode = 0o777): boolean {
  if (isFolder(path)) return false;
  if (dirname(path) !== path) makeFolder(dirname(path), mode);
  try {
    mkdirSync(path, { mode });
    return true;
  } catch (error) {
    // Another process may have made it. Otherwise it is a file or a dangling link.
    if (isErrno(error, "EEXIST") && isFolder(path)) return false;
    throw error;
  }
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
