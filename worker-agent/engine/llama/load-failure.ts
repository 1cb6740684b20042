import { InsufficientMemoryError, type Llama, NoBinaryFoundError } from "node-llama-cpp";

/** Messages about a damaged file: from llama.cpp, and from node-llama-cpp when it reads the header itself. */
const DAMAGED =
  /corrupted|not within the file bounds|failed to read|invalid (magic|GGUF)|missing tensor|wrong number of tensors|wrong shape|"?(size|offset)"? is out of range|end of file|premature/i;
const NO_MEMORY = /(failed|unable) to allocate|out of memory|insufficient memory|too large for the available/i;

/**
 * Says why a model was not loaded, and what the worker's owner can do.
 *
 * @param logLines what llama.cpp logged while it loaded: the error that it throws says only "Failed to load model"
 */
export function loadFailureMessage(error: unknown, path: string, logLines: readonly string[]): string {
  if (error instanceof NoBinaryFoundError) {
    return "There is no prebuilt llama.cpp for this kind of machine. Run the agent on Linux, macOS or Windows, x64 or arm64.";
  }
  const thrown = error instanceof Error ? error.message : String(error);
  const lines = [...logLines.map(withoutFunction), thrown];
  const found = (pattern: RegExp) => lines.map((line) => pattern.exec(line)).find((it) => it !== null);

  const architecture = found(/unknown model architecture: '([^']*)'/)?.[1];
  if (architecture !== undefined) {
    const problem =
      architecture === "" ? "does not name its architecture" : `has an unknown architecture (${architecture})`;
    return `The model ${path} ${problem}. Update the agent, or give --model another file.`;
  }
  if (error instanceof InsufficientMemoryError || found(NO_MEMORY) !== undefined) {
    const reason = found(NO_MEMORY)?.input ?? thrown;
    return `There is not enough memory for the model ${path} (${reason}). Try a smaller model, fewer --slots or a smaller --context.`;
  }
  // The header reader throws these errors when the file ends before the header does.
  const isTruncated = error instanceof RangeError || error instanceof TypeError;
  const damage = found(DAMAGED)?.input ?? (isTruncated ? "its header ends too soon" : undefined);
  if (damage !== undefined) {
    return `The model ${path} is damaged, or was not downloaded whole (${damage}). Download it again, or give --model another file.`;
  }
  const reason = lines.length > 1 ? lines[0] : thrown;
  return `The model ${path} could not be loaded (${reason}). Try a smaller model, fewer --slots, or download the file again.`;
}

/** Removes the function's name from a line such as `llama_model_load: error loading model: …`. */
function withoutFunction(line: string): string {
  return line.replace(/^\w+: /, "").replace(/^error loading model: /, "");
}

/** Collects the lines that llama.cpp logs, each once, until the returned function is called. */
export function captureLog(llama: Llama, lines: string[]): () => void {
  const { logger } = llama;
  llama.logger = (_level, message) => {
    const line = message.trim();
    if (line !== "" && !lines.includes(line)) lines.push(line);
  };
  return () => {
    llama.logger = logger;
  };
}
