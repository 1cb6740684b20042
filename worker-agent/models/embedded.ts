import { fileURLToPath } from "node:url";

/** The model in the agent's package, which works without a network (docs/spec/engines.md#the-embedded-model). */
export const EMBEDDED_MODEL = Object.freeze({
  name: "ligand-embedded",
  path: fileURLToPath(new URL("./ligand-embedded.gguf", import.meta.url)),
} as const);
