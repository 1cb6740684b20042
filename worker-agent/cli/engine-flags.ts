import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { LIMITS } from "../../schema/wire/limits.ts";
import { type JobKind, jobKind } from "../../schema/wire/worker-frames.ts";
import type { EngineChoice } from "../open-engine.ts";
import { flag, text, texts, type Values } from "./shared/command.ts";
import { integer } from "./shared/number-flags.ts";
import { secretOf } from "./shared/secrets.ts";
import { size } from "./shared/size-flag.ts";
import { FlagError, UsageError } from "./shared/usage-error.ts";

/** Help for the flags of `start` that choose what runs inference. */
export const ENGINE_HELP = [
  "--model M            embedded (default), the path of a GGUF file, or hf:OWNER/REPO:QUANT from the hub; repeat it to",
  "                     serve several models",
  "--models-dir DIR     where downloaded models are kept (default: ~/.local/share/ligand/models)",
  "--slots N            concurrent jobs per model (default: chosen for this machine)",
  "--context N          tokens of a job, including its answer (default: 8192, or the model's limit)",
  "--memory-limit SIZE  memory for all models together, such as 8GB (default: the free memory). When it is full, the",
  "                     least recently used model is unloaded",
  "--gpu auto|off       auto uses a GPU if there is one; off uses only the CPU",
  "--recalibrate        measure the best number of threads again",
  "--engine ENGINE      llama (default) runs models in this process; upstream uses another OpenAI-compatible server,",
  "                     whose key is LIGAND_UPSTREAM_KEY",
  "--upstream-url URL   the address of that server, such as http://127.0.0.1:8080/v1",
  "--upstream-model M   a model of that server, or NAME=ITS-NAME; may be repeated (default: all that it lists)",
  "--upstream-slots N   concurrent jobs per model of that server (default: 4)",
  "--upstream-kinds K   the kinds of request that it answers: chat,completion (default), embedding",
  "--upstream-timeout S give up after this many seconds without data (default: 120)",
  "--upstream-insecure  allow plain HTTP to a server on another machine",
] as const;

/** Node's own limit for a server that sends nothing. */
const UPSTREAM_TIMEOUT_MAX_S = 290;

/** The engine that these flags choose. Flags that do not work together are refused, not ignored. */
export function engineChoice(values: Values, env: Readonly<Record<string, string | undefined>>): EngineChoice {
  const engine = text(values, "engine") ?? (text(values, "upstream-url") === undefined ? "llama" : "upstream");
  if (engine !== "llama" && engine !== "upstream") {
    throw new FlagError("engine", `must be llama or upstream, not "${engine}".`);
  }
  const contextTokens = integer("context", text(values, "context"), 64, 2 ** 24);
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
  refuse(values, UPSTREAM_ONLY, "works only with --engine upstream");
  const gpu = text(values, "gpu") ?? "auto";
  if (gpu !== "auto" && gpu !== "off") throw new FlagError("gpu", `must be auto or off, not "${gpu}".`);
  const slots = integer("slots", text(values, "slots"), 1, LIMITS.slotsPerModel);
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
  refuse(values, LLAMA_ONLY, "does not work with --engine upstream");
  const url = text(values, "upstream-url");
  if (url === undefined)
    throw new UsageError("No server is given. Give --upstream-url, such as http://127.0.0.1:8080/v1.");
  const slots =
    integer("upstream-slots", text(values, "upstream-slots"), 1, LIMITS.slotsPerModel) ??
    integer("slots", text(values, "slots"), 1, LIMITS.slotsPerModel);
  const seconds = integer("upstream-timeout", text(values, "upstream-timeout"), 1, UPSTREAM_TIMEOUT_MAX_S);
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
    throw new FlagError(
      "upstream-kinds",
      `must list chat, completion or embedding, separated by commas, not "${given}".`,
    );
  }
  return [...new Set(kinds.filter((kind) => kind !== undefined))];
}

function refuse(values: Values, names: readonly string[], why: string): void {
  const given = names.find((name) => values[name] !== undefined);
  if (given !== undefined) throw new FlagError(given, `${why}.`);
}

/** By the XDG base directory specification, which tells programs to ignore a relative path. */
function defaultModelsDir(env: Readonly<Record<string, string | undefined>>, home: string): string {
  const base = env.XDG_DATA_HOME;
  return join(base?.startsWith("/") ? base : join(home, ".local", "share"), "ligand", "models");
}
