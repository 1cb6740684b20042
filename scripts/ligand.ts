import { AGENT_VERSION } from "../worker-agent/version.ts";
import { LIGAND } from "./cli/called-as.ts";
import { chat } from "./cli/chat.ts";
import type { Group } from "./cli/command.ts";
import { events } from "./cli/events.ts";
import { federation } from "./cli/federation.ts";
import { peers } from "./cli/peers.ts";
import { pool } from "./cli/pool.ts";
import { runCommand } from "./cli/run-command.ts";
import { worker } from "./cli/worker.ts";

/** The command line: a noun, then a verb (SPEC 12). */
const ligand: Group = {
  summary: "Ligand, a federated AI inference network; --version says which.",
  commands: { pool, worker, peers, federation, events, chat },
};

const args = process.argv.slice(2);
if (args[0] === "--version") console.log(AGENT_VERSION);
else process.exitCode = await runCommand(ligand, LIGAND, args);
