import * as z from "zod";
import { LIMITS } from "./limits.ts";
import { jobKind } from "./worker-frames.ts";

/** Answers of the client API (docs/spec/inference.md#client-api), for its OpenAPI document and for tests. The pool's answer formats write them. */
const seconds = z.int().nonnegative().describe("Unix time in seconds.");
/** The usage of all choices together. */
const usage = z.strictObject({
  prompt_tokens: z.int().nonnegative(),
  completion_tokens: z.int().nonnegative(),
  total_tokens: z.int().nonnegative(),
  completion_tokens_details: z
    .strictObject({ reasoning_tokens: z.int().nonnegative() })
    .optional()
    .describe("If the model reasoned: the number of completion tokens that are not shown."),
});
const finishReason = z
  .enum(["stop", "length", "tool_calls", "content_filter"])
  .describe(
    "stop: the answer ended by itself or at a stop sequence; length: at a limit; tool_calls: the model calls tools; content_filter: the server behind a worker withheld the rest.",
  );
const tokenLogprob = { token: z.string(), logprob: z.number(), bytes: z.array(z.int()).nullable() };
const chatLogprobs = z
  .strictObject({
    content: z.array(z.strictObject({ ...tokenLogprob, top_logprobs: z.array(z.strictObject(tokenLogprob)) })),
    refusal: z.null(),
  })
  .nullable()
  .describe(
    "If logprobs requests them: natural logarithms of the model's probabilities, before temperature and top_p.",
  );
const completionLogprobs = z
  .strictObject({
    tokens: z.array(z.string()),
    token_logprobs: z.array(z.number()),
    top_logprobs: z.array(z.record(z.string(), z.number())).nullable(),
    text_offset: z.array(z.int()),
  })
  .nullable();
const toolCall = z.strictObject({
  id: z.string(),
  type: z.literal("function"),
  function: z.strictObject({ name: z.string(), arguments: z.string().describe("JSON text.") }),
});

const choiceIndex = z
  .int()
  .nonnegative()
  .max(LIMITS.choicesPerRequest - 1)
  .describe("With several prompts, the answers to the first prompt come first.");

const answer = { id: z.string().describe("Ends in the job's id."), created: seconds, model: z.string() };

export const modelAnswer = z.strictObject({
  id: z.string(),
  object: z.literal("model"),
  created: seconds,
  owned_by: z.string(),
  kinds: z.array(jobKind).describe("The kinds of request that some worker of this pool serves for this model now."),
});

export const modelListAnswer = z.strictObject({ object: z.literal("list"), data: z.array(modelAnswer) });

export const chatAnswer = z.strictObject({
  ...answer,
  object: z.literal("chat.completion"),
  choices: z
    .array(
      z.strictObject({
        index: choiceIndex,
        message: z.strictObject({
          role: z.literal("assistant"),
          content: z.string().nullable(),
          refusal: z.null(),
          tool_calls: z.array(toolCall).min(1).optional(),
        }),
        logprobs: chatLogprobs,
        finish_reason: finishReason,
      }),
    )
    .min(1),
  usage,
});

export const chatChunk = z.strictObject({
  ...answer,
  object: z.literal("chat.completion.chunk"),
  choices: z
    .array(
      z.strictObject({
        index: choiceIndex,
        delta: z.strictObject({
          role: z.literal("assistant").optional(),
          content: z.string().nullish(),
          tool_calls: z
            .array(
              z.strictObject({
                index: z.int().nonnegative(),
                id: z.string().optional(),
                type: z.literal("function").optional(),
                function: z.strictObject({ name: z.string().optional(), arguments: z.string() }),
              }),
            )
            .optional(),
        }),
        logprobs: chatLogprobs,
        finish_reason: finishReason.nullable(),
      }),
    )
    .max(1)
    .describe("Empty in the last chunk, which has the usage."),
  usage: usage.nullish().describe("If stream_options.include_usage requests it: null until the last chunk."),
});

export const completionAnswer = z.strictObject({
  ...answer,
  object: z.literal("text_completion"),
  choices: z
    .array(
      z.strictObject({
        index: choiceIndex,
        text: z.string(),
        logprobs: completionLogprobs,
        finish_reason: finishReason.nullable(),
      }),
    )
    .max(LIMITS.choicesPerRequest),
  usage: usage.nullish(),
});

export const embeddingAnswer = z.strictObject({
  object: z.literal("list"),
  data: z.array(
    z.strictObject({
      object: z.literal("embedding"),
      index: z.int().nonnegative(),
      embedding: z
        .union([z.array(z.number()), z.string()])
        .describe("Numbers, or base64 of float32, little-endian; of length 1 (L2)."),
    }),
  ),
  model: z.string(),
  usage: usage.omit({ completion_tokens: true }),
});

export const cancelAnswer = z.strictObject({
  id: z.string(),
  cancelled: z.boolean().describe("Whether the job was cancelled, now or earlier."),
  state: z.enum(["done", "failed", "cancelled", "expired"]),
});

export const errorAnswer = z.strictObject({
  error: z.strictObject({
    message: z.string().describe("What happened, and what to do."),
    type: z.string(),
    code: z.string(),
    param: z.string().nullable().describe("The offending parameter."),
  }),
});
