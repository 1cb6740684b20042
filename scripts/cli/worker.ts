import { join } from "node:path";
import { workerCommands } from "../../worker-agent/cli/worker-commands.ts";
import { LIGAND_PROGRAM } from "../runtime/ligand-program.ts";
import { DEFAULT_STATE_DIR, localState } from "./access.ts";

/** `ligand worker …`: the commands of `ligand-worker`, with the pool on this machine as the default. */
export const worker = workerCommands({
  argv: [LIGAND_PROGRAM, "worker"],
  localPool: () => localState({})?.credentials.url,
  builtInWorkerDir: join(DEFAULT_STATE_DIR, "worker"),
});
