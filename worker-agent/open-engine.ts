import { cpus } from "node:os";
import { join } from "node:path";
import { LIMITS } from "../schema/wire/limits.ts";
import type { JobKind } from "../schema/wire/worker-frames.ts";
import type { Engine, EngineMeter, ModelOffer } from "./engine/engine.ts";
import {
  DEFAULT_CONTEXT_TOKENS,
  DEFAULT_SLOTS,
  type LlamaEngineOptions,
  llamaKinds,
  loadLlamaEngine,
} from "./engine/llama/llama-engine.ts";
import { startLlama, stopLlama } from "./engine/llama/llama-runtime.ts";
import { type HostedModel, ModelHost } from "./engine/llama/model-host.ts";
import { estimateModel, freeBytes } from "./engine/llama/model-memory.ts";
import { upstreamBase } from "./engine/upstream/base-url.ts";
import { openUpstream } from "./engine/upstream/upstream-engine.ts";
import type { AgentEvent } from "./events.ts";
import { formatGigabytes } from "./format-gigabytes.ts";
import { downloadModel } from "./models/hub.ts";
import { HUB_PREFIX } from "./models/hub-name.ts";
import { findModel, type ModelFile } from "./models/model-file.ts";
import { calibrate } from "./profile/calibration.ts";
import { AGENT_VERSION } from "./version.ts";

/** The engine and its options, as the worker's owner chose them. */
export interface EngineChoice {
  /** Each `embedded`, the path of a GGUF file, or `hf:OWNER/REPO:QUANT`; by default the embedded model. */
  readonly models?: readonly string[];
  /** The folder for models from the hub. By default a folder in `cacheDir`. */
  readonly modelsDir?: string;
  /** Concurrent jobs of each model. By default 4 on a CPU, 8 on a GPU. */
  readonly slots?: number;
  /** The most tokens of a job. Less if memory or the model allow less. */
  readonly contextTokens?: number;
  /** The most memory of all models together. By default most of the free memory. */
  readonly memoryLimitBytes?: number;
  /** Measures the number of threads again, although a measurement is cached. */
  readonly recalibrate?: boolean;
  /** `false`: use the CPU only. */
  readonly gpu?: false;
  /** Use the models of another server, and load none here. */
  readonly upstream?: UpstreamChoice;
}

export interface UpstreamChoice {
  readonly url: string;
  /** From a variable, never from a command line, which other users of the machine can read. */
  readonly key: string | null;
  /** Each `NAME` or `NAME=ITS-NAME`. Empty: all models that the server lists. */
  readonly models: readonly string[];
  readonly kinds?: readonly JobKind[];
  readonly silenceMs?: number;
  /** Allows plain http:// to other machines. */
  readonly allowInsecure?: boolean;
}

export interface EngineContext {
  readonly stateDir: string;
  /** Where agents of this machine share measurements and file hashes. */
  readonly cacheDir: string;
  readonly meter: EngineMeter & { readonly values: { readonly activeGenerations: number } };
  readonly onEvent: (event: AgentEvent) => void;
  readonly signal: AbortSignal;
}

export type OpenedEngine = { readonly ok: true; readonly engine: Engine } | Refused;

interface Refused {
  readonly ok: false;
  readonly code: "usage" | "failed";
  readonly message: string;
}

const cannot = (message: string, code: Refused["code"] = "failed"): Refused => ({ ok: false, code, message });

/** Opens the engine that the owner chose, and reports the models that it offers. A failure is a value with a remedy. */
export function openEngine(choice: EngineChoice, context: EngineContext): Promise<OpenedEngine> {
  return choice.upstream === undefined ? openModels(choice, context) : openServer(choice.upstream, choice, context);
}

async function openServer(
  upstream: UpstreamChoice,
  choice: EngineChoice,
  context: EngineContext,
): Promise<OpenedEngine> {
  const { onEvent, meter, signal } = context;
  const address = upstreamBase(upstream.url, upstream.allowInsecure ?? false);
  if (!address.ok) return cannot(address.message, "usage");
  onEvent({ type: "loading", step: `asking ${address.base} for its models` });
  const { slots, contextTokens } = choice;
  const { key, models, kinds, silenceMs } = upstream;
  const opened = await openUpstream({
    base: address.base,
    key,
    models,
    meter,
    onWarning: (message) => onEvent({ type: "warning", message }),
    signal,
    ...(slots === undefined ? {} : { slots }),
    ...(contextTokens === undefined ? {} : { contextTokens }),
    ...(kinds === undefined ? {} : { kinds }),
    ...(silenceMs === undefined ? {} : { silenceMs }),
  });
  if (!opened.ok) return cannot(opened.message);
  for (const offer of opened.engine.models()) announceModel(offer, { threads: null, backend: "upstream" }, onEvent);
  return opened;
}

async function openModels(choice: EngineChoice, context: EngineContext): Promise<OpenedEngine> {
  const { onEvent } = context;
  const specs = choice.models === undefined || choice.models.length === 0 ? ["embedded"] : choice.models;
  if (specs.length > LIMITS.modelsPerWorker) {
    return cannot(`A worker can serve at most ${LIMITS.modelsPerWorker} models.`, "usage");
  }
  const files: ModelFile[] = [];
  for (const spec of specs) {
    const found = await fileOf(spec, choice, context);
    if (!found.ok) return cannot(found.message);
    if (files.some(({ name }) => name === found.file.name)) {
      return cannot(
        `Two models have the name ${found.file.name}, which is the name of their file. Rename one of the files.`,
        "usage",
      );
    }
    files.push(found.file);
  }
  const [only] = files;
  if (only !== undefined && files.length === 1 && choice.memoryLimitBytes === undefined) {
    const loaded = await loadLlamaEngine({ ...llamaOptions(only, choice, context), signal: context.signal });
    if (!loaded.ok) return cannot(loaded.message);
    for (const offer of loaded.engine.models()) {
      announceModel(offer, loaded, onEvent);
      warnReducedContext(offer, choice, loaded.trainedTokens, onEvent);
    }
    return loaded;
  }
  return openHost(files, choice, context);
}

/** The file that `--model` names, downloaded if it is not here yet. */
async function fileOf(spec: string, choice: EngineChoice, { onEvent, cacheDir, signal }: EngineContext) {
  const hashesPath = join(cacheDir, "model-hashes.json");
  if (!spec.startsWith(HUB_PREFIX)) {
    onEvent({ type: "loading", step: "reading the model file" });
    return findModel(spec, hashesPath);
  }
  onEvent({ type: "loading", step: `looking for ${spec}` });
  const modelsDir = choice.modelsDir ?? join(cacheDir, "models");
  let reportedBytes = -1;
  const onProgress = (progress: { file: string; bytes: number; totalBytes: number }) => {
    // The downloader reports the last byte several times.
    if (progress.bytes !== reportedBytes) onEvent({ type: "downloading", ...progress });
    reportedBytes = progress.bytes;
  };
  const downloaded = await downloadModel(spec, { modelsDir, hashesPath, onProgress, signal });
  return downloaded.ok ? findModel(downloaded.path, hashesPath) : downloaded;
}

/** Several models on one llama.cpp. As many are in memory as fit. */
async function openHost(
  files: readonly ModelFile[],
  choice: EngineChoice,
  context: EngineContext,
): Promise<OpenedEngine> {
  const { onEvent, signal } = context;
  const { contextTokens = DEFAULT_CONTEXT_TOKENS } = choice;
  const callbacks = { onStep: stepsTo(onEvent), onWarning: warningsTo(onEvent) };
  const started = await startLlama({ ...callbacks, ...(choice.gpu === undefined ? {} : { gpu: choice.gpu }) }).catch(
    (error: unknown) => String(error),
  );
  if (typeof started === "string") return cannot(`llama.cpp does not start on this machine (${started}).`);
  const runtime = started;
  const refused = async (message: string, code?: Refused["code"]) => {
    await stopLlama(runtime);
    return cannot(message, code);
  };

  const backend = runtime.gpu === false ? "cpu" : runtime.gpu;
  const slots = choice.slots ?? (runtime.gpu === false ? DEFAULT_SLOTS.cpu : DEFAULT_SLOTS.gpu);
  const limitBytes = choice.memoryLimitBytes ?? (await freeBytes(runtime));
  const threads = new Map<string, number>();
  const models: HostedModel[] = [];
  for (const file of files) {
    const needs = await estimateModel(runtime, file.path, { slots, contextTokens });
    if (!needs.ok) return refused(needs.message);
    if (choice.memoryLimitBytes !== undefined && needs.bytes > limitBytes) {
      const want = `${file.name} needs about ${formatGigabytes(needs.bytes)}, and --memory-limit allows ${formatGigabytes(limitBytes)}.`;
      return refused(`${want} Raise the limit, or use fewer --slots, a smaller --context or a smaller model.`, "usage");
    }
    const { name, sha256 } = file;
    const load = async (stop?: AbortSignal) => {
      const options = llamaOptions(file, choice, context, [...threads.values()].at(-1));
      const loaded = await loadLlamaEngine({ ...options, runtime, ...(stop === undefined ? {} : { signal: stop }) });
      if (loaded.ok) threads.set(name, loaded.threads);
      return loaded;
    };
    const kinds = llamaKinds(needs.dimensions);
    const offer = { name, sha256, slots, contextTokens: needs.contextTokens, kinds };
    warnReducedContext(offer, choice, needs.trainedTokens, onEvent);
    models.push({ offer, bytes: needs.bytes, load });
  }

  const host = new ModelHost({ models, limitBytes, ...callbacks, releaseRuntime: () => stopLlama(runtime) });
  const preloaded = await host.preload(signal);
  if (!preloaded.ok) {
    await host.dispose();
    return cannot(preloaded.message);
  }
  for (const offer of host.models()) {
    announceModel(
      offer,
      { threads: threads.get(offer.name) ?? null, backend },
      onEvent,
      host.loaded().includes(offer.name),
    );
  }
  return { ok: true, engine: host };
}

function llamaOptions(
  file: ModelFile,
  choice: EngineChoice,
  { cacheDir, meter, onEvent }: EngineContext,
  knownThreads?: number,
): LlamaEngineOptions {
  const { slots, contextTokens, gpu, recalibrate: again = false } = choice;
  return {
    file,
    meter,
    onStep: stepsTo(onEvent),
    onWarning: warningsTo(onEvent),
    ...(slots === undefined ? {} : { slots }),
    ...(contextTokens === undefined ? {} : { contextTokens }),
    ...(gpu === undefined ? {} : { gpu }),
    threads: async ({ cores, backend, measure }) => {
      // A measurement beside running jobs would be wrong, and it would be cached.
      if (knownThreads !== undefined && meter.values.activeGenerations > 0) return knownThreads;
      const subject = {
        modelSha256: file.sha256,
        cpu: cpus()[0]?.model ?? "unknown",
        cores,
        gpu: backend,
        agentVersion: AGENT_VERSION,
      };
      const path = join(cacheDir, "calibration.json");
      const { threads, cached, measurements } = await calibrate({ path, subject, again, measure, nowMs: Date.now });
      onEvent({ type: "calibrated", threads, cached, measurements });
      return threads;
    },
  };
}

function announceModel(
  { name, sha256, slots, contextTokens }: ModelOffer,
  { threads, backend }: { readonly threads: number | null; readonly backend: string },
  onEvent: EngineContext["onEvent"],
  loaded = true,
): void {
  onEvent({ type: "model", name, sha256, slots, contextTokens, threads, backend, loaded });
}

/** Warns an owner who asked for a larger context than is possible, and says why. */
function warnReducedContext(
  { name, contextTokens }: ModelOffer,
  { contextTokens: wanted }: EngineChoice,
  trainedTokens: number,
  onEvent: EngineContext["onEvent"],
): void {
  if (wanted === undefined || contextTokens >= wanted) return;
  const why =
    contextTokens >= trainedTokens
      ? `${name} was trained for at most ${trainedTokens} tokens`
      : `memory has room for ${contextTokens} tokens of ${name}; fewer --slots leave more room`;
  onEvent({ type: "warning", message: `Jobs get ${contextTokens} tokens instead of --context ${wanted}: ${why}.` });
}

const stepsTo = (onEvent: EngineContext["onEvent"]) => (step: string) => onEvent({ type: "loading", step });
const warningsTo = (onEvent: EngineContext["onEvent"]) => (message: string) => onEvent({ type: "warning", message });
