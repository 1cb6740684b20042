import { runCommand } from "../worker-agent/cli/shared/run-command.ts";
import { poolStart } from "./cli/pool-start.ts";

/** `npm start`: the same as `ligand pool start`. */
const code = await runCommand(poolStart, "npm start --", process.argv.slice(2));
// Idle connections would keep the process alive for another second.
process.exit(code);
