import { chmod, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isErrno } from "./files.ts";
import { makeFolder } from "./make-folder.ts";

/** What the folder contained before. An `empty` folder may contain a lock. */
export type FoundFolder = "nothing" | "empty" | "used";
export type OpenedFolder =
  | { readonly ok: true; readonly found: FoundFolder }
  | { readonly ok: false; readonly message: string };

/** The lock is made before any state, so a folder with only a lock counts as empty. */
const LOCK = "lock";

/**
 * Opens a state folder, or makes one with mode 0700. An existing folder keeps its mode, because it may be a shared one
 * (`--state /tmp`). It is refused if everyone may write to it, or if others may read it and its files are not Ligand's.
 *
 * @param marks names of files that identify this kind of state
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
      if (((await stat(path)).mode & 0o002) !== 0) return refuse(path, "everyone may write to it");
      if (names.length > 0 && !marks.some((mark) => names.includes(mark))) {
        return refuse(path, "others may read it, and its files are not Ligand's");
      }
    }
    if (names.length > 0) return { ok: true, found: "used" };
    await hideFromGit(path);
    return { ok: true, found: "empty" };
  } catch (error) {
    if (isErrno(error, "EEXIST") || isErrno(error, "ENOTDIR"))
      return { ok: false, message: `${path} is not a folder.` };
    // A system error about the path is a message for the person who gave the path.
    if (!(error instanceof Error && "syscall" in error && "code" in error)) throw error;
    const message = `This user cannot make or use the folder ${path} (${error.code}). Name another one: --state DIR`;
    return { ok: false, message };
  }
}

/** Whether only this user may use the folder. Always true on Windows, where modes have no meaning. */
export async function isOursAlone(path: string): Promise<boolean> {
  if (process.platform === "win32") return true;
  const { mode, uid } = await stat(path);
  return (mode & 0o077) === 0 && uid === process.getuid?.();
}

/** The folder contains keys, so `git add .` must not add them. */
async function hideFromGit(path: string): Promise<void> {
  await writeFile(join(path, ".gitignore"), "*\n", { mode: 0o600 });
}

function refuse(path: string, why: string): OpenedFolder {
  const remedy = `Name a folder that does not exist yet, for example: --state ${join(path, "ligand")}`;
  return { ok: false, message: `${path} is not safe for keys: ${why}. ${remedy}` };
}
