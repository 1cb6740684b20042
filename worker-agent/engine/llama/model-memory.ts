import { GgufInsights, type Llama, readGgufFileInfo } from "node-llama-cpp";
import { captureLog, loadFailureMessage } from "./load-failure.ts";

/** An estimate of a model's memory, from the header of its file. Nothing is loaded. */
export type ModelEstimate = ({ readonly ok: true } & Estimate) | { readonly ok: false; readonly message: string };

interface Estimate {
  /** The model and the contexts of its jobs, in GPU memory and main memory together. */
  readonly bytes: number;
  /** The requested context, or the trained context if that is smaller. */
  readonly contextTokens: number;
  readonly trainedTokens: number;
  /** The dimensions of the model's embeddings. */
  readonly dimensions: number;
}

/** Reads the header of the model file and estimates its memory. A failure is a value with a message for the owner. */
export async function estimateModel(
  llama: Llama,
  path: string,
  request: { readonly slots: number; readonly contextTokens: number },
): Promise<ModelEstimate> {
  const logLines: string[] = [];
  const stopCapture = captureLog(llama, logLines);
  try {
    return { ok: true, ...(await estimateOf(llama, path, request)) };
  } catch (error) {
    return { ok: false, message: loadFailureMessage(error, path, logLines) };
  } finally {
    stopCapture();
  }
}

async function estimateOf(
  llama: Llama,
  path: string,
  request: { readonly slots: number; readonly contextTokens: number },
): Promise<Estimate> {
  const info = await readGgufFileInfo(path, { sourceType: "filesystem", logWarnings: false });
  const insights = await GgufInsights.from(info, llama);
  const trainedTokens = insights.trainContextSize ?? request.contextTokens;
  const contextTokens = Math.min(request.contextTokens, trainedTokens);
  const gpuLayers = llama.gpu === false ? 0 : insights.totalLayers;
  const parts = [
    await insights.estimateModelResourceRequirementsV2({ gpuLayers }),
    // `llama-engine.ts` creates two contexts: one that jobs share, and one for jobs with a seed.
    await contextEstimate(insights, { contextTokens, gpuLayers, sequences: request.slots }),
    await contextEstimate(insights, { contextTokens, gpuLayers, sequences: 1 }),
  ];
  const bytes = parts.reduce((sum, { cpuRam, gpuVram }) => sum + cpuRam + gpuVram, 0);
  return { bytes, contextTokens, trainedTokens, dimensions: insights.embeddingVectorSize ?? 0 };
}

function contextEstimate(
  insights: GgufInsights,
  shape: { readonly contextTokens: number; readonly gpuLayers: number; readonly sequences: number },
) {
  return insights.estimateContextResourceRequirementsV2({
    contextSize: shape.contextTokens,
    modelGpuLayers: shape.gpuLayers,
    sequences: shape.sequences,
  });
}

/** Models may use this share of the free memory, because estimates are inexact and other programs need memory too. */
const SHARE = Object.freeze({ cpu: 0.8, gpu: 0.9 } as const);

/** The default memory limit of all models together: GPU memory if there is a GPU, else main memory. */
export async function freeBytes(llama: Llama): Promise<number> {
  if (llama.gpu === false) return process.availableMemory() * SHARE.cpu;
  return (await llama.getVramState()).free * SHARE.gpu;
}
