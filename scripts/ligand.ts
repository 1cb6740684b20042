import { keepCompiledCode } from "./runtime/cache-folder.ts";

keepCompiledCode();
const args = process.argv.slice(2);
if (args[0] === "--version") {
  const [{ AGENT_VERSION }, { guardProcess, written }] = await Promise.all([
    import("../worker-agent/version.ts"),
    import("./cli/last-words.ts"),
  ]);
  guardProcess();
  console.log(AGENT_VERSION);
  await written();
} else {
  const [{ LIGAND }, { ligand }, { runCommand }] = await Promise.all([
    import("./cli/called-as.ts"),
    import("./cli/ligand.ts"),
    import("./cli/run-command.ts"),
  ]);
  process.exitCode = await runCommand(ligand, LIGAND, args);
}
