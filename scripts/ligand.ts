import { AGENT_VERSION } from "../worker-agent/version.ts";
import { LIGAND } from "./cli/called-as.ts";
import { ligand } from "./cli/ligand.ts";
import { runCommand } from "./cli/run-command.ts";

const args = process.argv.slice(2);
if (args[0] === "--version") console.log(AGENT_VERSION);
else process.exitCode = await runCommand(ligand, LIGAND, args);
