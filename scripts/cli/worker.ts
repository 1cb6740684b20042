import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { workerCommands } from "../../worker-agent/cli/worker-commands.ts";
import { DEFAULT_STATE_DIR, localState } from "./access.ts";

/** `ligand worker …`: the commands of `ligand-worker`, which know the pool of this repository. */
export const worker = workerCommands({
  argv: [fileURLToPath(new URL("../ligand.ts", import.meta.url)), "worker"],
  localPool: () => localState({})?.credentials.url,
  builtInWorkerDir: join(DEFAULT_STATE_DIR, "worker"),
});
