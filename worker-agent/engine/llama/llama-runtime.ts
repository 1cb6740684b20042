import { availableParallelism } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { getLlama, type Llama, type LlamaContext, LlamaLogLevel, type LlamaModel } from "node-llama-cpp";

export interface RuntimeOptions {
  /** False: use the CPU only. */
  readonly gpu?: false;
  readonly onStep?: (step: string) => void;
  /** For the operator's log: lines of llama.cpp, which never contain a prompt. */
  readonly onWarning?: (message: string) => void;
}

/**
 * Starts llama.cpp on the best backend of this machine. Throws `NoBinaryFoundError` if no binary fits the machine.
 */
export async function startLlama(options: RuntimeOptions): Promise<Llama> {
  options.onStep?.("starting llama.cpp");
  const llama = await getLlama({
    // The npm packages contain prebuilt binaries: nothing is compiled or downloaded on a worker's machine.
    build: "never",
    skipDownload: true,
    progressLogs: false,
    gpu: options.gpu ?? "auto",
    logLevel: LlamaLogLevel.error,
    logger: (_level, message) => options.onWarning?.(message.trim()),
  });
  // On a CPU all contexts share the cores: a context waits until its threads are free instead of competing for them.
  llama.maxThreads = llama.gpu === false ? Math.max(1, availableParallelism()) : 0;
  return llama;
}

/**
 * Releases llama.cpp, and gives up waiting after three seconds. node-llama-cpp 3.22 waits for every model that it began
 * to load; if one failed to load and was garbage-collected, that wait never ends.
 */
export async function stopLlama(llama: Llama): Promise<void> {
  const waitIsOver = new AbortController();
  await Promise.race([llama.dispose(), sleep(3_000, undefined, { signal: waitIsOver.signal }).catch(() => {})]);
  waitIsOver.abort();
}

export function createContext(
  model: LlamaModel,
  { sequences, contextTokens, threads }: { sequences: number; contextTokens: number; threads: number },
): Promise<LlamaContext> {
  return model.createContext({
    sequences,
    contextSize: { max: contextTokens },
    threads: { ideal: threads, min: threads },
  });
}
