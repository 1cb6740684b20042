import { once } from "node:events";
import { type FileHandle, open, rm } from "node:fs/promises";
import { resolve } from "node:path";
import { type Command, EXIT, type Group, text } from "../../worker-agent/cli/shared/command.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { shellWord } from "../../worker-agent/cli/shared/shell-word.ts";
import { stopOnSignal } from "../../worker-agent/cli/shared/stop-signal.ts";
import { systemReason } from "../../worker-agent/cli/shared/system-reason.ts";
import { pluralize } from "../../worker-agent/pluralize.ts";
import { isErrno } from "../../worker-agent/state/files.ts";
import { exportLog } from "./audit-file.ts";
import { tail } from "./event-tail.ts";
import { verify } from "./event-verify.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print, watched } from "./pool-common.ts";

const exportCommand: Command = {
  summary: "Write the whole log as JSON lines, private events included, so that anyone can verify it offline.",
  usage: "[--output FILE] [--json]",
  help: [
    "--output FILE  a new file (default: standard output). Only you can read it",
    ...COMMON_HELP,
    "",
    "The log has no texts of people, only their hashes. To verify a file: audit verify FILE.",
  ],
  options: { ...COMMON_OPTIONS, output: { type: "string" } },
  positionals: { min: 0, max: 0 },
  async run(values, _, hints) {
    const client = admin(values);
    const output = text(values, "output");
    // Ctrl-C ends the export. A partly written file is removed.
    const { signal } = stopOnSignal();
    const work = (write: (text: string) => Promise<void>) =>
      watched(values, async (show) => {
        let written = 0;
        const lines = exportLog(client, (done, of) => show(`Exported ${done} of ${of} events`));
        for await (const { text, events } of lines) {
          if (signal.aborted) throw new OperatorError("The export was cancelled.");
          await write(text);
          written += events;
        }
        return written;
      });
    if (output === undefined) {
      await work(async (text) => {
        if (!process.stdout.write(text)) await once(process.stdout, "drain");
      });
      return EXIT.ok;
    }
    const file = resolve(output);
    const events = await intoNewFile(file, (handle) => work(async (text) => handle.appendFile(text)));
    const next = `To verify it: ${hints.ligand(`audit verify ${shellWord(output)}`)}`;
    return print(values, { file, events }, `${pluralize(events, "event")} are in ${file}. ${next}`);
  },
};

/** Writes a new file. It is removed again if the work fails. */
async function intoNewFile<T>(file: string, work: (handle: FileHandle) => Promise<T>): Promise<T> {
  const handle = await open(file, "wx", 0o600).catch((error: unknown) => {
    if (isErrno(error, "EEXIST")) throw new OperatorError(`${file} already exists. Choose another file.`);
    throw new OperatorError(`Cannot write ${file}: ${systemReason(error) ?? String(error)}.`);
  });
  try {
    const result = await work(handle);
    await handle.sync();
    await handle.close();
    return result;
  } catch (error) {
    await handle.close();
    await rm(file, { force: true });
    throw error;
  }
}

/** `ligand audit …`: who did what, from the pool's signed log. */
export const audit: Group = {
  summary: "Who did what, from the pool's signed log: tail, export, verify.",
  commands: { tail, export: exportCommand, verify },
  standard: "tail",
};
