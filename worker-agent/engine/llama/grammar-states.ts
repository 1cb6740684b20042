import { setImmediate as nextTurn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type Llama, LlamaGrammarEvaluationState, type LlamaModel, type Token } from "node-llama-cpp";

/** The limit of estimated native memory that waits for the garbage collector. */
const MAX_UNCOLLECTED_BYTES = 32 * 1024 * 1024;
/** A character of GBNF is at most one element of eight bytes. Its text is kept twice, and each rule needs a little more. */
const BYTES_PER_CHARACTER = 16;

/**
 * Creates grammar states, one for each answer. llama.cpp frees a state's native memory when the garbage collector finds
 * the small JavaScript object that represents it. The collector does not know the native size and may not run for
 * minutes, so this class counts the memory and calls the collector when the count reaches a limit.
 */
export class GrammarStates {
  readonly #llama: Llama;
  readonly #model: LlamaModel;

  constructor(llama: Llama, model: LlamaModel) {
    this.#llama = llama;
    this.#model = model;
  }

  /** Returns the state of the grammar after the given tokens. */
  async create(grammar: string, tokens: readonly Token[]): Promise<LlamaGrammarEvaluationState> {
    await accountFor(grammar.length * BYTES_PER_CHARACTER);
    const compiled = await this.#llama.createGrammar({ grammar });
    const state = new LlamaGrammarEvaluationState({ model: this.#model, grammar: compiled });
    if (tokens.length > 0) {
      // The library does not export this function. The exported alternative copies the state for each token, and every
      // copy contains the whole grammar.
      const { AddonSampler } = (this.#llama as unknown as { _bindings: Bindings })._bindings;
      const { _state } = state as unknown as { _state: object };
      for (const token of tokens) AddonSampler.acceptGrammarEvaluationStateToken(_state, token);
    }
    return state;
  }
}

interface Bindings {
  readonly AddonSampler: { acceptGrammarEvaluationStateToken(state: object, token: Token): void };
}

/** The estimated native memory that waits for the garbage collector, in the whole process. */
let uncollectedBytes = 0;

async function accountFor(bytes: number): Promise<void> {
  uncollectedBytes += bytes;
  if (uncollectedBytes <= MAX_UNCOLLECTED_BYTES) return;
  uncollectedBytes = bytes;
  collectGarbage();
  // llama.cpp frees the collected states in the next turn of the event loop.
  await nextTurn();
}

let collect: (() => void) | null = null;

function collectGarbage(): void {
  if (collect === null) {
    setFlagsFromString("--expose-gc");
    collect = runInNewContext("gc") as () => void;
  }
  collect();
}
