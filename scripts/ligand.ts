import { keepCompiledCode } from "./runtime/cache-folder.ts";

keepCompiledCode();
const args = process.argv.slice(2);
if (args[0] === "--version") {
  const [{ AGENT_VERSION }, { handleUncaughtErrors, flushStdout }] = await Promise.all([
    import("../worker-agent/version.ts"),
    import("../worker-agent/cli/shared/uncaught-errors.ts"),
  ]);
  handleUncaughtErrors();
  console.log(AGENT_VERSION);
  await flushStdout();
} else {
  const [{ LIGAND }, { ligand }, { runCommand }] = await Promise.all([
    import("../worker-agent/cli/shared/called-as.ts"),
    import("./cli/ligand.ts"),
    import("../worker-agent/cli/shared/run-command.ts"),
  ]);
  process.exitCode = await runCommand(ligand, LIGAND, args);
}
