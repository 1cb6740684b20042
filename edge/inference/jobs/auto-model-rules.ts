/** Which model the name `auto` means. Pure. */
import type { JobKind } from "../../../schema/wire/worker-frames.ts";
import type { ModelLoad } from "./served-models-rules.ts";

/**
 * Text: of the models that do this kind, the one with the most free slots, then the shortest queue for its size. Models
 * whose workers cannot do all that the request asks are taken only where there are no others, so that the refusal names
 * what they cannot do.
 *
 * Embeddings: vectors of two models do not compare, so the load never decides. It is the operator's default, and
 * without one the first by name.
 *
 * @param served what is served now, sorted by name
 * @returns null where no worker does this kind, or serves the operator's default
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
