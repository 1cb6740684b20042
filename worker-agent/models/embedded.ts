import { fileURLToPath } from "node:url";

/** The model that ships with the agent, so that a fresh machine answers without a network (docs/spec/engines.md#the-embedded-model). */
export const EMBEDDED_MODEL = Object.freeze({
  name: "ligand-embedded",
  path: fileURLToPath(new URL("./ligand-embedded.gguf", import.meta.url)),
} as const);
