import { workerInstall, workerUninstall } from "./install.ts";
import { workerProfile } from "./profile.ts";
import type { Group } from "./shared/command.ts";
import { workerStart } from "./start.ts";
import { workerStatus } from "./status.ts";
import type { WorkerProgram } from "./worker-program.ts";

/** The commands of a worker's owner: `ligand-worker …` and `ligand worker …`. */
export function workerCommands(program: WorkerProgram): Group {
  const start = workerStart(program);
  return {
    summary: "Serve a pool with this machine.",
    commands: {
      start,
      status: workerStatus(program),
      profile: workerProfile,
      install: workerInstall(program, start),
      uninstall: workerUninstall,
    },
  };
}
