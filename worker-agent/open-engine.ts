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
import { downloadModel } from "./models/hub.ts";
import { HUB_PREFIX } from "./models/hub-name.ts";
import { findModel, type ModelFile } from "./models/model-file.ts";
import { calibrate } from "./profile/calibration.ts";
import { AGENT_VERSION } from "./version.ts";

/** What shall run inference, as the worker's owner says it. */
export interface EngineChoice {
  /** Each `embedded`, the path of a GGUF file, or `hf:OWNER/REPO:QUANT`; by default the embedded model. */
  readonly models?: readonly string[];
  /** Where models from the hub are kept; by default the folder for caches. */
  readonly modelsDir?: string;
  /** Jobs at once of each model; by default 4 on a CPU, 8 on a GPU. */
  readonly slots?: number;
  /** At most; less where memory or the model allow less. */
  readonly contextTokens?: number;
  /** What models may take together; by default most of what is free. */
  readonly memoryLimitBytes?: number;
  /** Measure threads again instead of using what was measured before. */
  readonly recalibrate?: boolean;
  /** False keeps to the CPU. */
  readonly gpu?: false;
  /** Another server instead of models in this process. */
  readonly upstream?: UpstreamChoice;
}

export interface UpstreamChoice {
  readonly url: string;
  /** From the environment, never from a command line. */
  readonly key: string | null;
  /** `NAME` or `NAME=THEIRS`; none: what the server lists. */
  readonly models: readonly string[];
  readonly kinds?: readonly JobKind[];
  readonly silenceMs?: number;
  /** Allows plain http:// to other machines. */
  readonly allowInsecure?: boolean;
}

export interface EngineContext {
  readonly stateDir: string;
  /** Where agents share what they measured of this machine. */
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

/** Makes what the owner chose, ready to serve, and says what it offers. What is wrong is an answer with a remedy. */
export function openEngine(choice: EngineChoice, around: EngineContext): Promise<OpenedEngine> {
  return choice.upstream === undefined ? openModels(choice, around) : openServer(choice.upstream, choice, around);
}

async function openServer(
  upstream: UpstreamChoice,
  choice: EngineChoice,
  around: EngineContext,
): Promise<OpenedEngine> {
  const { onEvent, meter, signal } = around;
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

async function openModels(choice: EngineChoice, around: EngineContext): Promise<OpenedEngine> {
  const { onEvent } = around;
  const specs = choice.models === undefined || choice.models.length === 0 ? ["embedded"] : choice.models;
  if (specs.length > LIMITS.modelsPerWorker) {
    return cannot(`A worker offers ${LIMITS.modelsPerWorker} models at most.`, "usage");
  }
  const files: ModelFile[] = [];
  for (const spec of specs) {
    const found = await fileOf(spec, choice, around);
    if (!found.ok) return cannot(found.message);
    if (files.some(({ name }) => name === found.file.name)) {
      return cannot(`Two models are called ${found.file.name}. A model's name is its file's: rename one.`, "usage");
    }
    files.push(found.file);
  }
  const [only] = files;
  if (only !== undefined && files.length === 1 && choice.memoryLimitBytes === undefined) {
    const loaded = await loadLlamaEngine({ ...llamaOptions(only, choice, around), signal: around.signal });
    if (!loaded.ok) return cannot(loaded.message);
    for (const offer of loaded.engine.models()) {
      announceModel(offer, loaded, onEvent);
      warnReducedContext(offer, choice, loaded.trainedTokens, onEvent);
    }
    return loaded;
  }
  return openHost(files, choice, around);
}

/** The file that a `--model` means, downloaded where it has to be. */
async function fileOf(spec: string, choice: EngineChoice, { onEvent, cacheDir, signal }: EngineContext) {
  const hashesPath = join(cacheDir, "model-hashes.json");
  if (!spec.startsWith(HUB_PREFIX)) {
    onEvent({ type: "loading", step: "reading the model file" });
    return findModel(spec, hashesPath);
  }
  onEvent({ type: "loading", step: `looking for ${spec}` });
  const modelsDir = choice.modelsDir ?? join(cacheDir, "models");
  let toldBytes = -1;
  const onProgress = (progress: { file: string; bytes: number; totalBytes: number }) => {
    // The downloader says several times that it is done.
    if (progress.bytes !== toldBytes) onEvent({ type: "downloading", ...progress });
    toldBytes = progress.bytes;
  };
  const downloaded = await downloadModel(spec, { modelsDir, hashesPath, onProgress, signal });
  return downloaded.ok ? findModel(downloaded.path, hashesPath) : downloaded;
}

/** Several models over one llama.cpp, as many in memory as fit. */
async function openHost(
  files: readonly ModelFile[],
  choice: EngineChoice,
  around: EngineContext,
): Promise<OpenedEngine> {
  const { onEvent, signal } = around;
  const { contextTokens = DEFAULT_CONTEXT_TOKENS } = choice;
  const told = { onStep: stepsTo(onEvent), onWarning: warningsTo(onEvent) };
  const started = await startLlama({ ...told, ...(choice.gpu === undefined ? {} : { gpu: choice.gpu }) }).catch(
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
      const want = `${file.name} takes about ${gigabytes(needs.bytes)}, --memory-limit allows ${gigabytes(limitBytes)}.`;
      return refused(`${want} Raise it, or give fewer --slots, a smaller --context or a smaller model.`, "usage");
    }
    const { name, sha256 } = file;
    const load = async (stop?: AbortSignal) => {
      const options = llamaOptions(file, choice, around, [...threads.values()].at(-1));
      const loaded = await loadLlamaEngine({ ...options, runtime, ...(stop === undefined ? {} : { signal: stop }) });
      if (loaded.ok) threads.set(name, loaded.threads);
      return loaded;
    };
    const kinds = llamaKinds(needs.dimensions);
    const offer = { name, sha256, slots, contextTokens: needs.contextTokens, kinds };
    warnReducedContext(offer, choice, needs.trainedTokens, onEvent);
    models.push({ offer, bytes: needs.bytes, load });
  }

  const host = new ModelHost({ models, limitBytes, ...told, releaseRuntime: () => stopLlama(runtime) });
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
      // What is measured beside running jobs says nothing, and would be remembered.
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

/** Whoever asks for more than there is hears what there is, and why. */
function warnReducedContext(
  { name, contextTokens }: ModelOffer,
  { contextTokens: wanted }: EngineChoice,
  trainedTokens: number,
  onEvent: EngineContext["onEvent"],
): void {
  if (wanted === undefined || contextTokens >= wanted) return;
  const why =
    contextTokens >= trainedTokens
      ? `${name} was trained for ${trainedTokens} tokens`
      : `memory has room for ${contextTokens} tokens of ${name}, fewer --slots leave more`;
  onEvent({ type: "warning", message: `Jobs get ${contextTokens} tokens instead of --context ${wanted}: ${why}.` });
}

const stepsTo = (onEvent: EngineContext["onEvent"]) => (step: string) => onEvent({ type: "loading", step });
const warningsTo = (onEvent: EngineContext["onEvent"]) => (message: string) => onEvent({ type: "warning", message });
const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB`;
