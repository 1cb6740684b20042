import { chmod, mkdir, readdir, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, expect, it } from "vitest";
import { openStateFolder } from "../../worker-agent/state/state-folder.ts";
import { temporaryFolder } from "../temporary-folder.ts";

let folder: string;
beforeEach(async () => {
  folder = temporaryFolder();
});

const open = (path: string) => openStateFolder(path, ["agent.key"]);
const mode = async (path: string) => (await stat(path)).mode & 0o1777;

it("makes a folder and its parents with mode 0700", async () => {
  const path = join(folder, "a", "b");
  expect(await open(path)).toEqual({ ok: true, found: "nothing" });
  expect([await mode(path), await mode(join(folder, "a"))]).toEqual([0o700, 0o700]);
});

it.each<[what: string, mode: number, holds: string[], says: string | null]>([
  ["private and empty", 0o700, [], null],
  ["private, with any files", 0o700, ["a photo"], null],
  ["open and empty", 0o755, [], null],
  ["open, with the lock of a start that failed", 0o755, ["lock"], null],
  ["open, with a worker's state", 0o755, ["agent.key"], null],
  ["open, with other files", 0o755, ["a photo"], "its files are not Ligand's"],
  ["open to its group, with other files", 0o770, ["a photo"], "its files are not Ligand's"],
  ["writable by everyone, as /tmp is", 0o1777, [], "everyone may write to it"],
  [
    "writable by everyone, with a key that any user may have put there",
    0o777,
    ["agent.key"],
    "everyone may write to it",
  ],
])(
  "the mode of a folder that is %s does not change; a folder that was empty is hidden from git",
  async (_what, given, holds, says) => {
    for (const name of holds) await writeFile(join(folder, name), "");
    await chmod(folder, given);
    const opened = await open(folder);
    const empty = holds.every((name) => name === "lock");
    if (says === null) expect(opened).toEqual({ ok: true, found: empty ? "empty" : "used" });
    else {
      expect(opened).toEqual({ ok: false, message: expect.stringContaining(says) });
      expect(opened).toHaveProperty("message", expect.stringContaining(`--state ${folder}/ligand`));
    }
    expect(await mode(folder)).toBe(given);
    const hidden = says === null && empty ? [".gitignore"] : [];
    expect((await readdir(folder)).sort()).toEqual([...hidden, ...holds]);
  },
);

it.each([["file"], [join("file", "inside")], ["nowhere"], [join("nowhere", "inside")]])(
  "%s is refused because it is not a folder",
  async (path) => {
    await writeFile(join(folder, "file"), "");
    await symlink(join(folder, "absent", "folder"), join(folder, "nowhere"));
    const opened = await open(join(folder, path));
    expect(opened).toEqual({ ok: false, message: `${join(folder, path)} is not a folder.` });
  },
);

it.each([
  // Node's own way to make such a folder never returns.
  ...(process.platform === "linux" ? [["/proc/ligand"], ["/proc/self/fd/ligand/state"]] : []),
  [`/${"x".repeat(300)}/state`],
])("%s, which cannot be made, is refused immediately", async (path) => {
  const message = expect.stringMatching(/^This user cannot make or use the folder \/.* \(E\w+\)\. .*--state DIR$/);
  expect(await open(path)).toEqual({ ok: false, message });
});

it.skipIf(process.getuid?.() !== 0)("root does not use the folder of another user", async () => {
  const { chown } = await import("node:fs/promises");
  const theirs = join(folder, "theirs");
  await mkdir(theirs, { mode: 0o700 });
  await writeFile(join(theirs, "a photo"), "");
  await chown(theirs, 65534, 65534);
  expect((await open(theirs)).ok).toBe(false);
  expect((await stat(theirs)).uid).toBe(65534);
});
