import { extname, join } from "node:path";

/** The file of the `ligand` program: `.ts` in a checkout, `.js` in a package. */
export const LIGAND_PROGRAM = join(import.meta.dirname, `../ligand${extname(import.meta.filename)}`);
