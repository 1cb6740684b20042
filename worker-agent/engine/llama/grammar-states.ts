import { setImmediate as nextTurn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type Llama, LlamaGrammarEvaluationState, type LlamaModel, type Token } from "node-llama-cpp";

/** Estimated native memory of grammars that may wait for the garbage collector. */
const UNCOLLECTED_BYTES = 32 * 1024 * 1024;
/** A character of GBNF is at most one element of eight bytes; its text is kept twice, and a rule costs a little more. */
const BYTES_PER_CHARACTER = 16;

/**
 * Grammars at work, a state for each answer. llama.cpp gives a state's memory back when the garbage collector finds the
 * small object that stands for it here; the collector does not know how much that is, and may not look for minutes. So
 * what is handed out is counted, and the collector is called before it is much.
 */
export class Grammars {
  readonly #llama: Llama;
  readonly #model: LlamaModel;

  constructor(llama: Llama, model: LlamaModel) {
    this.#llama = llama;
    this.#model = model;
  }

  /** A state of the grammar after these tokens. */
  async begin(grammar: string, tokens: readonly Token[]): Promise<LlamaGrammarEvaluationState> {
    await makeRoom(grammar.length * BYTES_PER_CHARACTER);
    const compiled = await this.#llama.createGrammar({ grammar });
    const state = new LlamaGrammarEvaluationState({ model: this.#model, grammar: compiled });
    if (tokens.length > 0) {
      // The library itself uses this for speculation and does not export it; a copy of the state for each token, which
      // it does export, costs a copy of the whole grammar each.
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

/** Of this process, whose memory it is. */
let uncollectedBytes = 0;

async function makeRoom(bytes: number): Promise<void> {
  uncollectedBytes += bytes;
  if (uncollectedBytes <= UNCOLLECTED_BYTES) return;
  uncollectedBytes = bytes;
  collectGarbage();
  // What the collector found is freed in the event loop's next turn.
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
