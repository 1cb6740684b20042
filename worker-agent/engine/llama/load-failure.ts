import { InsufficientMemoryError, type Llama, NoBinaryFoundError } from "node-llama-cpp";

/** llama.cpp's own words where a file is at fault, and node-llama-cpp's where it reads the header itself. */
const DAMAGED =
  /corrupted|not within the file bounds|failed to read|invalid (magic|GGUF)|missing tensor|wrong number of tensors|wrong shape|"?(size|offset)"? is out of range|end of file|premature/i;
const NO_MEMORY = /(failed|unable) to allocate|out of memory|insufficient memory|too large for the available/i;

/**
 * Pure: why a model was not loaded, and what its worker's owner does about it.
 *
 * @param said llama.cpp's own lines while it loaded: "Failed to load model" is all that it throws
 */
export function whyNotLoaded(error: unknown, path: string, said: readonly string[]): string {
  if (error instanceof NoBinaryFoundError) {
    return "There is no prebuilt llama.cpp for this kind of machine. Run the agent on Linux, macOS or Windows, x64 or arm64.";
  }
  const thrown = error instanceof Error ? error.message : String(error);
  const lines = [...said.map(withoutFunction), thrown];
  const found = (pattern: RegExp) => lines.map((line) => pattern.exec(line)).find((it) => it !== null);

  const kind = found(/unknown model architecture: '([^']*)'/)?.[1];
  if (kind !== undefined) {
    const which =
      kind === "" ? "does not say its architecture" : `has an architecture that is not known here (${kind})`;
    return `The model ${path} ${which}. Update the agent, or give --model another file.`;
  }
  if (error instanceof InsufficientMemoryError || found(NO_MEMORY) !== undefined) {
    const reason = found(NO_MEMORY)?.input ?? thrown;
    return `There is not enough memory for the model ${path} (${reason}). Try a smaller model, fewer --slots or a smaller --context.`;
  }
  // A reader of headers that runs out of file finds nothing where something must be.
  const isCut = error instanceof RangeError || error instanceof TypeError;
  const damage = found(DAMAGED)?.input ?? (isCut ? "its header ends too soon" : undefined);
  if (damage !== undefined) {
    return `The model ${path} is damaged, or was not downloaded whole (${damage}). Download it again, or give --model another file.`;
  }
  const reason = lines.length > 1 ? lines[0] : thrown;
  return `The model ${path} could not be loaded (${reason}). Try a smaller model, fewer --slots, or download the file again.`;
}

/** `llama_model_load: error loading model: …` without the name of who says it. */
function withoutFunction(line: string): string {
  return line.replace(/^\w+: /, "").replace(/^error loading model: /, "");
}

/** Keeps what llama.cpp says from here on, each line once, until the function that is returned is called. */
export function listenTo(llama: Llama, said: string[]): () => void {
  const { logger } = llama;
  llama.logger = (_level, message) => {
    const line = message.trim();
    if (line !== "" && !said.includes(line)) said.push(line);
  };
  return () => {
    llama.logger = logger;
  };
}
