/** Decides which model the name `auto` means. */
import type { JobKind } from "../../../schema/wire/worker-frames.ts";
import type { ModelLoad } from "./served-models-rules.ts";

/**
 * For text: of the models that do this kind, the model with the most free slots, then the one with the shortest queue
 * for its size. A model whose workers cannot do everything that the request needs is chosen only if there is no other,
 * so that the refusal names what its workers lack.
 * For embeddings: vectors of different models cannot be compared, so the load does not decide. `auto` means the
 * operator's default, or else the first model by name.
 * @param served the models that are served now, sorted by name
 * @returns null if no model does this kind, or if the operator's default is not served
 */
export function autoModel(
  kind: JobKind,
  served: readonly ModelLoad[],
  embeddingModel: string | null,
  canDo: (model: string) => boolean,
): string | null {
  const ofKind = served.filter(({ kinds }) => kinds.includes(kind));
  if (kind === "embedding") {
    if (embeddingModel === null) return ofKind[0]?.name ?? null;
    return ofKind.some(({ name }) => name === embeddingModel) ? embeddingModel : null;
  }
  const able = ofKind.filter(({ name }) => canDo(name));
  const [best] = (able.length > 0 ? able : ofKind).sort(
    (a, b) => b.free - a.free || a.queued / a.slots - b.queued / b.slots,
  );
  return best?.name ?? null;
}
