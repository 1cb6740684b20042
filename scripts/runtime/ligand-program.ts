import { join } from "node:path";
import { IS_PACKAGE } from "../../worker-agent/cli/shared/is-package.ts";

/** The file of the `ligand` program, which the pool runs as a separate process for its worker. */
export const LIGAND_PROGRAM = join(import.meta.dirname, IS_PACKAGE ? "../ligand.js" : "../ligand.ts");
