import type { Engine, Failed, GenerationEvent, GenerationJob, ModelOffer } from "../../worker-agent/engine/engine.ts";

const TOKEN = " tok";

/**
 * An engine that answers immediately with as many tokens as `max_tokens` says, so that a bench measures everything around
 * the engine. If the request asks for one token, the answer is the time at which the job arrived (epoch ms, with a
 * fraction). It has no tokenizer: a token is four bytes of the prompt.
 */
export class InstantEngine implements Engine {
  readonly kind = "llama";
  readonly #offer: ModelOffer;
  #isClosed = false;

  constructor(slots: number) {
    this.#offer = { name: "instant", sha256: null, slots, contextTokens: 1_000_000, kinds: ["chat"] };
  }

  models(): readonly ModelOffer[] {
    return [this.#offer];
  }

  async *generate(job: GenerationJob, signal: AbortSignal): AsyncGenerator<GenerationEvent> {
    const arrivedMs = performance.timeOrigin + performance.now();
    const refusal = this.#refusalOf(job);
    if (refusal !== null) {
      yield refusal;
      return;
    }
    const { maxTokens } = job.request;
    const tokens = maxTokens ?? 1;
    yield { type: "accepted", promptTokens: 1 };
    const isOver = () => signal.aborted || this.#isClosed;
    if (tokens === 1 && !isOver()) yield { type: "text", text: String(arrivedMs), tokens: 1 };
    for (let sent = 0; tokens > 1 && sent < tokens && !isOver(); sent++) {
      yield { type: "text", text: TOKEN, tokens: 1 };
      // Let other jobs run, as they do while a real engine waits.
      if (sent % 64 === 63) await new Promise((resolve) => setImmediate(resolve));
    }
    if (isOver()) return;
    const finishReason = maxTokens === undefined ? "stop" : "length";
    yield { type: "end", finishReason, usage: { promptTokens: 1, completionTokens: tokens } };
  }

  async dispose(): Promise<void> {
    this.#isClosed = true;
  }

  #refusalOf({ model, kind, request }: GenerationJob): Failed | null {
    if (model !== this.#offer.name)
      return failed("inference/model-not-found", "There is only the model instant.", true);
    if (kind !== "chat") return failed("http/unsupported-parameter", "There are only chats.", false, "prompt");
    const bytes = request.messages.reduce((sum, { content }) => sum + content.length, 0);
    if (bytes / 4 > this.#offer.contextTokens) {
      return failed("inference/context-length-exceeded", "The prompt is too long.", false);
    }
    const { stop, tools, responseFormat, topLogprobs, topK, countTokens } = request;
    const members: [value: unknown, param?: string][] = [
      [stop, "stop"],
      [tools, "tools"],
      [responseFormat, "response_format"],
      [topLogprobs, "logprobs"],
      [topK, "top_k"],
      [countTokens],
    ];
    const unsupported = members.find(([value]) => value !== undefined);
    if (unsupported === undefined) return null;
    return failed("http/unsupported-parameter", "The engine does not support this parameter.", false, unsupported[1]);
  }
}

function failed(code: Failed["code"], message: string, retryable: boolean, param?: string): Failed {
  return { type: "failed", code, message, retryable, ...(param !== undefined && { param }) };
}
