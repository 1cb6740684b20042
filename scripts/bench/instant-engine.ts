import type { Engine, GenerationEvent, GenerationJob, ModelOffer } from "../../worker-agent/engine/engine.ts";

const TOKEN = " tok";

/**
 * An engine that answers at once, with as many tokens as `max_tokens` says, so that what is measured is everything
 * around it. Asked for one token it says when the job reached it (epoch ms, with a fraction).
 */
export class InstantEngine implements Engine {
  readonly kind = "llama";
  readonly #offer: ModelOffer;

  constructor(slots: number) {
    this.#offer = { name: "instant", sha256: null, slots, contextTokens: 1_000_000, kinds: ["chat"] };
  }

  models(): readonly ModelOffer[] {
    return [this.#offer];
  }

  async *generate(job: GenerationJob, signal: AbortSignal): AsyncGenerator<GenerationEvent> {
    const reachedMs = performance.timeOrigin + performance.now();
    const tokens = ("maxTokens" in job.request && job.request.maxTokens) || 1;
    yield { type: "accepted", promptTokens: 1 };
    if (tokens === 1) yield { type: "text", text: String(reachedMs), tokens: 1 };
    for (let sent = 0; tokens > 1 && sent < tokens && !signal.aborted; sent++) {
      yield { type: "text", text: TOKEN, tokens: 1 };
      // Other jobs' turn, as an engine's own waiting would give it.
      if (sent % 64 === 63) await new Promise((resolve) => setImmediate(resolve));
    }
    yield { type: "end", finishReason: "stop", usage: { promptTokens: 1, completionTokens: tokens } };
  }

  async dispose(): Promise<void> {}
}
