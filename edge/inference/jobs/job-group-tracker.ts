/**
 * One client request as several jobs, which may run at different workers: one job for each choice, or for each batch of
 * embedding inputs. The request is done when all jobs are done, and it fails when the first job fails.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";
import type {
  EmbeddingRequest,
  FinishReason,
  JobRequest,
  TokenLogprob,
  ToolCall,
  Usage,
} from "../../../schema/wire/worker-frames.ts";
import type { LaneJob } from "../lane-rpc.ts";
import type { NewJob } from "./lane-state.ts";

/** Which worker serves a request, how long the request waited, and whether a repetition gives the same answer. */
export interface Served {
  readonly workerId: string;
  readonly queuedMs: number;
  /** Whether the same request with the same seed gives the same answer at this worker. */
  readonly deterministic: boolean;
}

interface Choices {
  /** Choices for each prompt. */
  readonly n?: number | undefined;
  /** All prompts of a completion that has several. The prompt in its request is then empty. */
  readonly prompts?: readonly string[] | undefined;
}

/** The jobs of a request. The first job has the id of the request, which the client knows. */
export function newJobs(job: LaneJob, model: string, newId: () => string): [NewJob, ...NewJob[]] {
  const { id: group, moreIds = [], keyId, requestId, kind, format: dialect, n, prompts } = job;
  const jobs = partsOf(job.request, { n, prompts }).map((request, i) => {
    const id = i === 0 ? group : (moreIds[i - 1] ?? newId());
    return { id, group, keyId, requestId, kind, model, dialect, request };
  });
  return jobs as [NewJob, ...NewJob[]];
}

/**
 * The request of each part, in the order of the choices: as in the OpenAI API, all choices of the first prompt come
 * first. A batch of embedding inputs is never larger than what older agents accept. The parts share the texts of the
 * request.
 */
function partsOf(request: JobRequest, { n = 1, prompts = [] }: Choices): JobRequest[] {
  if ("input" in request) return batchesOf(request);
  if (prompts.length === 0) return choicesOf(request, n);
  return prompts.flatMap((prompt) => choicesOf({ ...request, prompt } as JobRequest, n));
}

function batchesOf(request: EmbeddingRequest): EmbeddingRequest[] {
  const { input } = request;
  if (input.length <= LIMITS.embeddingInputs) return [request];
  return Array.from({ length: Math.ceil(input.length / LIMITS.embeddingInputs) }, (_, i) => ({
    ...request,
    input: input.slice(i * LIMITS.embeddingInputs, (i + 1) * LIMITS.embeddingInputs),
  }));
}

/** If the request has a seed, each choice gets its own seed. The choices then differ, and each is reproducible. */
function choicesOf(request: JobRequest, n: number): JobRequest[] {
  if (n === 1 || !("seed" in request) || request.seed === undefined) return Array(n).fill(request);
  const { seed } = request;
  const step = seed > Number.MAX_SAFE_INTEGER - n ? -1 : 1;
  return Array.from({ length: n }, (_, i) => ({ ...request, seed: seed + step * i }));
}

/** The end of a part that is done. */
export interface PartEnd {
  readonly served: Served;
  readonly finishReason: FinishReason;
  readonly usage: Usage;
  /** Only of a whole answer. */
  readonly text: string | undefined;
  readonly toolCalls: readonly ToolCall[] | undefined;
  /** The stop sequence that ended the text, where the worker reports it. */
  readonly stopSequence?: string | undefined;
  readonly vectors: readonly Uint8Array[];
  /** Only of a whole answer whose request asks for them. */
  readonly logprobs?: readonly TokenLogprob[] | undefined;
}

type GroupStep = "running" | "over" | { readonly ends: readonly PartEnd[]; readonly usage: Usage };

/** The parts of one request while they run. */
export class JobGroup {
  readonly #parts: ReadonlyMap<string, number>;
  readonly #ends: (PartEnd | undefined)[];
  #isOver = false;

  /** @param jobIds in the order of the choices */
  constructor(jobIds: readonly string[]) {
    this.#parts = new Map(jobIds.map((id, i) => [id, i]));
    this.#ends = jobIds.map(() => undefined);
  }

  /** Parts that have not ended. */
  get running(): string[] {
    if (this.#isOver) return [];
    return [...this.#parts].flatMap(([id, i]) => (this.#ends[i] === undefined ? id : []));
  }

  choiceOf(jobId: string): number {
    return this.#parts.get(jobId) ?? 0;
  }

  /** Call when a part is done. `over`: the request has ended before, so no client reads this part. */
  done(jobId: string, end: PartEnd): GroupStep {
    if (this.#isOver) return "over";
    this.#ends[this.choiceOf(jobId)] = end;
    const ends = this.#ends.filter((each) => each !== undefined);
    if (ends.length < this.#ends.length) return "running";
    this.#isOver = true;
    return { ends, usage: sumOf(ends.map(({ usage }) => usage)) };
  }

  /**
   * Call when a part has failed, which ends the request. Returns the other parts, which must be cancelled; null if the
   * request had ended before.
   */
  failed(jobId: string): string[] | null {
    if (this.#isOver) return null;
    const others = this.running.filter((id) => id !== jobId);
    this.#isOver = true;
    return others;
  }
}

function sumOf(usages: readonly Usage[]): Usage {
  const sum = (of: (usage: Usage) => number) => usages.reduce((total, usage) => total + of(usage), 0);
  const reasoningTokens = sum((usage) => usage.reasoningTokens ?? 0);
  return {
    promptTokens: sum((usage) => usage.promptTokens),
    completionTokens: sum((usage) => usage.completionTokens),
    ...(reasoningTokens > 0 && { reasoningTokens }),
  };
}

/** The workers of a whole answer, separated by commas, and the longest wait. */
export function servedTogether(ends: readonly { served: Served }[]): Served {
  const served = ends.map((end) => end.served);
  return {
    workerId: [...new Set(served.map(({ workerId }) => workerId))].join(", "),
    queuedMs: Math.max(...served.map(({ queuedMs }) => queuedMs)),
    deterministic: served.every(({ deterministic }) => deterministic),
  };
}
