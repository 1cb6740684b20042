import * as z from "zod";

const limit = z.number().int().positive().nullish().catch(null);

/** The answer of `GET /v1/models`. vLLM, llama-server and OpenRouter have different names for the size of the context. */
const modelList = z.object({
  data: z.array(
    z.object({
      id: z.string().min(1),
      max_model_len: limit,
      context_length: limit,
      context_window: limit,
      meta: z.object({ n_ctx: limit, n_ctx_train: limit }).nullish().catch(null),
    }),
  ),
});

export interface ListedModel {
  readonly id: string;
  readonly contextTokens: number | null;
}

/** Returns null if the value is not a list of models. */
export function readModelList(value: unknown): ListedModel[] | null {
  const parsed = modelList.safeParse(value);
  if (!parsed.success) return null;
  return parsed.data.data.map((model) => ({
    id: model.id,
    contextTokens:
      model.max_model_len ??
      model.context_length ??
      model.context_window ??
      model.meta?.n_ctx ??
      model.meta?.n_ctx_train ??
      null,
  }));
}
