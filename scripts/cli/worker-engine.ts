import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { LIMITS } from "../../schema/wire/limits.ts";
import { type JobKind, jobKind } from "../../schema/wire/worker-frames.ts";
import type { EngineChoice } from "../../worker-agent/open-engine.ts";
import { flag, text, texts, type Values } from "./command.ts";
import { whole } from "./numbers.ts";
import { secretOf } from "./secrets.ts";
import { size } from "./sizes.ts";
import { FlagError, UsageError } from "./usage-error.ts";

/** The flags of `worker start` that say what runs inference. */
export const ENGINE_HELP = [
  "--model M            embedded (default), the path of a GGUF file, or hf:OWNER/REPO:QUANT from the hub; may be repeated",
  "--models-dir DIR     where models from the hub are kept (default: ~/.local/share/ligand/models)",
  "--slots N            jobs at once of each model (default: as this machine allows)",
  "--context N          tokens of a job, its answer included (default: 8192, or what the model allows)",
  "--memory-limit SIZE  what all models may take, such as 8GB; the one used longest ago makes room (default: what is free)",
  "--gpu auto|off       a GPU is used where there is one; off keeps to the CPU",
  "--recalibrate        measure the number of threads again",
  "--engine ENGINE      llama (default): models in this process; upstream: those of another OpenAI-compatible server,",
  "                     whose key is LIGAND_UPSTREAM_KEY",
  "--upstream-url URL   that server, such as http://127.0.0.1:8080/v1",
  "--upstream-model M   a model of it, or NAME=ITS-NAME; may be repeated (default: all that it lists)",
  "--upstream-slots N   jobs at once of each of its models (default: 4)",
  "--upstream-kinds K   what it does: chat,completion (default), embedding",
  "--upstream-timeout S seconds of silence after which it is given up (default: 120)",
  "--upstream-insecure  plain HTTP to a server on another machine",
] as const;

/** Node's own patience with a silent server. */
const UPSTREAM_TIMEOUT_MAX_S = 290;

/** Pure: what these flags choose; flags that do nothing together are refused, not ignored. */
export function engineChoice(values: Values, env: Readonly<Record<string, string | undefined>>): EngineChoice {
  const engine = text(values, "engine") ?? (text(values, "upstream-url") === undefined ? "llama" : "upstream");
  if (engine !== "llama" && engine !== "upstream") {
    throw new FlagError("engine", `wants llama or upstream, not "${engine}".`);
  }
  const contextTokens = whole("context", text(values, "context"), 64, 2 ** 24);
  const context = contextTokens !== undefined && { contextTokens };
  return engine === "upstream"
    ? { ...context, ...upstreamChoice(values, env) }
    : { ...context, ...llamaChoice(values, env) };
}

const LLAMA_ONLY = ["model", "models-dir", "memory-limit", "gpu", "recalibrate"] as const;
const UPSTREAM_ONLY = [
  "upstream-url",
  "upstream-model",
  "upstream-slots",
  "upstream-kinds",
  "upstream-timeout",
  "upstream-insecure",
] as const;

function llamaChoice(values: Values, env: Readonly<Record<string, string | undefined>>): EngineChoice {
  refuse(values, UPSTREAM_ONLY, "goes with --engine upstream");
  const gpu = text(values, "gpu") ?? "auto";
  if (gpu !== "auto" && gpu !== "off") throw new FlagError("gpu", `wants auto or off, not "${gpu}".`);
  const slots = whole("slots", text(values, "slots"), 1, LIMITS.slotsPerModel);
  const memoryLimitBytes = size("memory-limit", text(values, "memory-limit"));
  return {
    models: texts(values, "model"),
    modelsDir: resolve(text(values, "models-dir") ?? defaultModelsDir(env, homedir())),
    ...(slots !== undefined && { slots }),
    ...(memoryLimitBytes !== undefined && { memoryLimitBytes }),
    ...(gpu === "off" && { gpu: false }),
    recalibrate: flag(values, "recalibrate"),
  };
}

function upstreamChoice(values: Values, env: Readonly<Record<string, string | undefined>>): EngineChoice {
  refuse(values, LLAMA_ONLY, "does not go with --engine upstream");
  const url = text(values, "upstream-url");
  if (url === undefined) throw new UsageError("Which server? Give --upstream-url, such as http://127.0.0.1:8080/v1.");
  const slots =
    whole("upstream-slots", text(values, "upstream-slots"), 1, LIMITS.slotsPerModel) ??
    whole("slots", text(values, "slots"), 1, LIMITS.slotsPerModel);
  const seconds = whole("upstream-timeout", text(values, "upstream-timeout"), 1, UPSTREAM_TIMEOUT_MAX_S);
  const kinds = text(values, "upstream-kinds");
  return {
    ...(slots !== undefined && { slots }),
    upstream: {
      url,
      key: secretOf("upstream-key", env) ?? null,
      models: texts(values, "upstream-model"),
      ...(kinds !== undefined && { kinds: kindsOf(kinds) }),
      ...(seconds !== undefined && { silenceMs: seconds * 1_000 }),
      allowInsecure: flag(values, "upstream-insecure"),
    },
  };
}

function kindsOf(given: string): JobKind[] {
  const kinds = given.split(",").map((kind) => jobKind.safeParse(kind.trim()).data);
  if (kinds.some((kind) => kind === undefined)) {
    throw new FlagError("upstream-kinds", `wants chat, completion and embedding, with commas, not "${given}".`);
  }
  return [...new Set(kinds.filter((kind) => kind !== undefined))];
}

function refuse(values: Values, names: readonly string[], why: string): void {
  const given = names.find((name) => values[name] !== undefined);
  if (given !== undefined) throw new FlagError(given, `${why}.`);
}

/** Pure: XDG base directory specification, which says to ignore a relative path. */
function defaultModelsDir(env: Readonly<Record<string, string | undefined>>, home: string): string {
  const base = env.XDG_DATA_HOME;
  return join(base?.startsWith("/") ? base : join(home, ".local", "share"), "ligand", "models");
}
