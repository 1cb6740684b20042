import { join } from "node:path";
import { IS_PACKAGE } from "./is-package.ts";

/** The file of the `ligand` program, by which the pool starts its worker as a process of its own. */
export const LIGAND_PROGRAM = join(import.meta.dirname, IS_PACKAGE ? "../ligand.js" : "../ligand.ts");
