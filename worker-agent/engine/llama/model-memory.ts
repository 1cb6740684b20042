import { GgufInsights, type Llama, readGgufFileInfo } from "node-llama-cpp";
import { listenTo, whyNotLoaded } from "./load-failure.ts";

/** What a model will take, from its file's header: nothing of it is loaded. */
export type ModelNeeds = ({ readonly ok: true } & Needs) | { readonly ok: false; readonly message: string };

interface Needs {
  /** The model and the contexts of its jobs, on the GPU or off it. */
  readonly bytes: number;
  /** At most what was wanted; less where the model was trained for less. */
  readonly contextTokens: number;
  readonly trainedTokens: number;
  /** Of its embeddings. */
  readonly dimensions: number;
}

export async function modelNeeds(
  llama: Llama,
  path: string,
  wanted: { readonly slots: number; readonly contextTokens: number },
): Promise<ModelNeeds> {
  const said: string[] = [];
  const stopListening = listenTo(llama, said);
  try {
    return { ok: true, ...(await needsOf(llama, path, wanted)) };
  } catch (error) {
    return { ok: false, message: whyNotLoaded(error, path, said) };
  } finally {
    stopListening();
  }
}

async function needsOf(
  llama: Llama,
  path: string,
  wanted: { readonly slots: number; readonly contextTokens: number },
): Promise<Needs> {
  const info = await readGgufFileInfo(path, { sourceType: "filesystem", logWarnings: false });
  const insights = await GgufInsights.from(info, llama);
  const trainedTokens = insights.trainContextSize ?? wanted.contextTokens;
  const contextTokens = Math.min(wanted.contextTokens, trainedTokens);
  const gpuLayers = llama.gpu === false ? 0 : insights.totalLayers;
  const parts = [
    await insights.estimateModelResourceRequirementsV2({ gpuLayers }),
    // As `llama-engine.ts` makes them: one context that jobs share, one for jobs with a seed.
    await context(insights, { contextTokens, gpuLayers, sequences: wanted.slots }),
    await context(insights, { contextTokens, gpuLayers, sequences: 1 }),
  ];
  const bytes = parts.reduce((sum, { cpuRam, gpuVram }) => sum + cpuRam + gpuVram, 0);
  return { bytes, contextTokens, trainedTokens, dimensions: insights.embeddingVectorSize ?? 0 };
}

function context(
  insights: GgufInsights,
  about: { readonly contextTokens: number; readonly gpuLayers: number; readonly sequences: number },
) {
  return insights.estimateContextResourceRequirementsV2({
    contextSize: about.contextTokens,
    modelGpuLayers: about.gpuLayers,
    sequences: about.sequences,
  });
}

/** Shares of what is free that models may take: estimates are estimates, and others use the machine too. */
const SHARE = Object.freeze({ cpu: 0.8, gpu: 0.9 } as const);

/** What models may take together where the owner does not say. On a GPU its own memory is what counts. */
export async function freeBytes(llama: Llama): Promise<number> {
  if (llama.gpu === false) return process.availableMemory() * SHARE.cpu;
  return (await llama.getVramState()).free * SHARE.gpu;
}
