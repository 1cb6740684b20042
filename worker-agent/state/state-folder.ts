import { chmod, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isErrno } from "./files.ts";
import { makeFolder } from "./make-folder.ts";

/** What was there before; `empty` but for a lock. */
export type FoundFolder = "nothing" | "empty" | "used";
export type OpenedFolder =
  | { readonly ok: true; readonly found: FoundFolder }
  | { readonly ok: false; readonly message: string };

/** The lock is made before any state, so a folder that holds nothing else is still empty. */
const LOCK = "lock";

/**
 * Opens a state folder, or makes one that is its owner's alone. A folder that was there keeps its mode, for it may be
 * everyone's (`--state /tmp`); it is refused where others may put files, or where it is open and somebody else's files
 * are in it.
 *
 * @param marks names of files by which this state is known
 */
export async function openStateFolder(path: string, marks: readonly string[]): Promise<OpenedFolder> {
  try {
    if (makeFolder(path, 0o700)) {
      await chmod(path, 0o700);
      await hideFromGit(path);
      return { ok: true, found: "nothing" };
    }
    const names = (await readdir(path)).filter((name) => name !== LOCK);
    if (!(await isOursAlone(path))) {
      if (((await stat(path)).mode & 0o002) !== 0) return refuse(path, "everyone may put files into it");
      if (names.length > 0 && !marks.some((mark) => names.includes(mark))) {
        return refuse(path, "others may look into it, and what it holds is not Ligand's");
      }
    }
    if (names.length > 0) return { ok: true, found: "used" };
    await hideFromGit(path);
    return { ok: true, found: "empty" };
  } catch (error) {
    if (isErrno(error, "EEXIST") || isErrno(error, "ENOTDIR"))
      return { ok: false, message: `${path} is not a folder.` };
    // What the system says of a path, whatever it is, is for the person who gave the path.
    if (!(error instanceof Error && "syscall" in error && "code" in error)) throw error;
    const message = `The folder ${path} cannot be made or used by this user (${error.code}). Name another: --state DIR`;
    return { ok: false, message };
  }
}

/** On Windows a folder in the user's profile is; modes say nothing there. */
export async function isOursAlone(path: string): Promise<boolean> {
  if (process.platform === "win32") return true;
  const { mode, uid } = await stat(path);
  return (mode & 0o077) === 0 && uid === process.getuid?.();
}

/** Keys are in here: `git add .` around this folder must not take them along. */
async function hideFromGit(path: string): Promise<void> {
  await writeFile(join(path, ".gitignore"), "*\n", { mode: 0o600 });
}

function refuse(path: string, why: string): OpenedFolder {
  const remedy = `Name one that does not exist yet, for example: --state ${join(path, "ligand")}`;
  return { ok: false, message: `${path} is no folder for keys: ${why}. ${remedy}` };
}
