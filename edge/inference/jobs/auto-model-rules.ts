/** Which model the name `auto` means. */
import type { JobKind } from "../../../schema/wire/worker-frames.ts";
import type { ModelLoad } from "./served-models-rules.ts";

/**
 * Text: of the models that do this kind, the one with the most free slots, then the one with the shortest queue for its
 * size. A model whose workers cannot do all that the request asks is chosen only where there is no other, so that the
 * refusal names what its workers cannot do.
 *
 * Embeddings: vectors of two models do not compare, so the load never decides. `auto` means the operator's default, and
 * without a default the first model by name.
 *
 * @param served the models that are served now, sorted by name
 * @returns null where no model does this kind, or where the operator's default is not served
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
