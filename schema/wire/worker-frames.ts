import * as z from "zod";
import { JOB_FAILURES } from "./errors.ts";
import { LIMITS, WORKER_PROTOCOL } from "./limits.ts";

/**
 * The worker socket's frames (docs/spec/workers.md#socket-protocol): JSON text, one discriminated union for each direction.
 * Strict: an unknown type or field closes the socket with 1008.
 */
const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
const base64Signature = z.string().regex(/^[A-Za-z0-9+/]{86}==$/);
/** Signed bytes are RFC 8785, which cannot write a lone surrogate, so text with one is refused. */
export const unicodeText = z.string().refine((text) => text.isWellFormed(), "must be well-formed Unicode");
export const modelName = unicodeText.min(1).max(LIMITS.modelNameChars);
const tokenCount = z
  .int()
  .nonnegative()
  .max(2 ** 31);
const timestampMs = z.int().nonnegative();

export const jobKind = z.enum(["chat", "completion", "embedding"]);
export type JobKind = z.infer<typeof jobKind>;

const sampling = {
  maxTokens: z.int().positive().optional(),
  temperature: z.number().min(0).max(2).optional(),
  topP: z.number().min(0).max(1).optional(),
  /** In v1.2. */
  topK: z.int().positive().max(LIMITS.topK).optional(),
  /** In v1.2: send the log probability of each token, and this many of the likeliest tokens with it. */
  topLogprobs: z.int().nonnegative().max(LIMITS.topLogprobs).optional(),
  seed: z.int().optional(),
  stop: z.array(unicodeText.min(1).max(LIMITS.stopSequenceChars)).max(LIMITS.stopSequences).optional(),
  /** False: the agent sends no deltas and puts the whole text into `done`. */
  stream: z.boolean(),
};

/** Agents of v1 and v1.1 accept fewer characters. */
export const toolName = z
  .string()
  .regex(
    new RegExp(`^[A-Za-z0-9_-]{1,${LIMITS.toolNameChars}}$`),
    `expected 1 to ${LIMITS.toolNameChars} of the characters a-z, A-Z, 0-9, _ and -`,
  );
const toolCallId = unicodeText.min(1).max(LIMITS.toolCallIdChars);
export const toolCall = z.strictObject({
  id: toolCallId,
  name: toolName,
  /** JSON text as the model generated it. */
  arguments: unicodeText,
});
const toolCalls = z.array(toolCall).max(LIMITS.toolCallsPerMessage);
const jsonSchema = z.record(z.string(), z.unknown());

export const chatMessage = z.discriminatedUnion("role", [
  z.strictObject({ role: z.literal("system"), content: unicodeText }),
  z.strictObject({ role: z.literal("user"), content: unicodeText }),
  z.strictObject({ role: z.literal("assistant"), content: unicodeText, toolCalls: toolCalls.optional() }),
  z.strictObject({ role: z.literal("tool"), content: unicodeText, toolCallId }),
]);
export const chatRequest = z.strictObject({
  messages: z.array(chatMessage).min(1).max(LIMITS.messagesPerRequest),
  ...sampling,
  /**
   * Enforced by grammar: the answer parses, and is valid as far as the schema is enforced, unless it ends with
   * `length`.
   */
  responseFormat: z
    .discriminatedUnion("type", [
      z.strictObject({ type: z.literal("json_object") }),
      z.strictObject({
        type: z.literal("json_schema"),
        schema: jsonSchema,
        /** In v1.2, these three as the client sent them, because an upstream server may use them. */
        name: unicodeText.max(LIMITS.toolNameChars).optional(),
        description: unicodeText.max(LIMITS.toolDescriptionChars).optional(),
        strict: z.boolean().optional(),
      }),
    ])
    .optional(),
  tools: z
    .array(
      z.strictObject({
        name: toolName,
        description: unicodeText.max(LIMITS.toolDescriptionChars).optional(),
        /** Absent, from an older pool: the function takes no parameters. */
        parameters: jsonSchema.optional(),
        /** In v1.2, as the client sent it. */
        strict: z.boolean().optional(),
      }),
    )
    .min(1)
    .max(LIMITS.tools)
    .optional(),
  /** Absent: the model chooses between text and calls. */
  toolChoice: z.union([z.literal("required"), z.strictObject({ name: toolName })]).optional(),
  /** Absent: one answer may hold several calls. */
  parallelToolCalls: z.literal(false).optional(),
  /** In v1.2: only count the tokens of the prompt, and generate nothing. `done` has the number. */
  countTokens: z.literal(true).optional(),
});
export const completionRequest = z.strictObject({ prompt: unicodeText, ...sampling });
export const embeddingRequest = z.strictObject({
  input: z.array(unicodeText.min(1)).min(1).max(LIMITS.embeddingInputs),
  /**
   * The length of the vectors. A worker refuses the job if its vectors have another length; it does not shorten them.
   */
  dimensions: z.int().positive().max(LIMITS.embeddingDimensions).optional(),
  stream: z.literal(false),
});
export type ChatRequest = z.infer<typeof chatRequest>;
export type CompletionRequest = z.infer<typeof completionRequest>;
export type EmbeddingRequest = z.infer<typeof embeddingRequest>;
export type ToolCall = z.infer<typeof toolCall>;
/** The request that a worker gets; `metering.request_sha256` is over its JCS bytes. */
export type JobRequest = ChatRequest | CompletionRequest | EmbeddingRequest;

/** `content_filter` in v1.2. */
const finishReason = z.enum(["stop", "length", "tool_calls", "content_filter"]);
export type FinishReason = z.infer<typeof finishReason>;

/** The capabilities of a worker, signed by its key (docs/spec/workers.md#profile-and-manifest). The JCS bytes of this object are signed. */
export const manifest = z.strictObject({
  v: z.literal(1),
  type: z.literal("manifest"),
  worker: hex(32),
  engine: z.enum(["llama", "upstream"]),
  models: z
    .array(
      z.strictObject({
        name: modelName,
        sha256: hex(32).nullable(),
        slots: z.int().positive().max(LIMITS.slotsPerModel),
        contextTokens: z.int().positive(),
        kinds: z.array(jobKind).min(1),
      }),
    )
    .min(1)
    .max(LIMITS.modelsPerWorker),
  agentVersion: z.string().min(1).max(64),
});
export type Manifest = z.infer<typeof manifest>;

/** The work that a worker claims, signed by its key (docs/spec/workers.md#metering). The JCS bytes of this object are signed. */
export const metering = z.strictObject({
  v: z.literal(1),
  type: z.literal("metering"),
  job_id: z.uuid(),
  pool: hex(32),
  worker: hex(32),
  model: modelName,
  model_sha256: hex(32).nullable(),
  prompt_tokens: tokenCount,
  completion_tokens: tokenCount,
  started_ms: timestampMs,
  ended_ms: timestampMs,
  finish_reason: finishReason,
  request_sha256: hex(32),
  /**
   * The hash of the answer in its order: the text; for each tool call its name, then its arguments. For embeddings, the
   * hash of the bytes of the vectors (float32, little-endian), by index.
   */
  response_sha256: hex(32),
});
export type Metering = z.infer<typeof metering>;

// ---- pool → agent

const lease = { jobId: z.uuid(), lease: z.int().positive() };

export const poolFrame = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("challenge"), nonce: hex(32), pool: hex(32) }),
  z.strictObject({
    type: z.literal("welcome"),
    worker: hex(32),
    heartbeatMs: z.int().positive(),
    leaseMs: z.int().positive(),
    agentFrameBytes: z.int().positive(),
  }),
  z.discriminatedUnion("kind", [
    z.strictObject({
      type: z.literal("job"),
      ...lease,
      model: modelName,
      kind: z.literal("chat"),
      request: chatRequest,
      deadlineMs: timestampMs,
    }),
    z.strictObject({
      type: z.literal("job"),
      ...lease,
      model: modelName,
      kind: z.literal("completion"),
      request: completionRequest,
      deadlineMs: timestampMs,
    }),
    z.strictObject({
      type: z.literal("job"),
      ...lease,
      model: modelName,
      kind: z.literal("embedding"),
      request: embeddingRequest,
      deadlineMs: timestampMs,
    }),
  ]),
  z.strictObject({ type: z.literal("cancel"), ...lease }),
  /** The worker does not hold this lease any more. It must drop the job and send nothing more about it. */
  z.strictObject({ type: z.literal("rejected"), ...lease }),
  /** In v1.1: the number of requests since the last such frame for models that this worker does not serve. */
  z.strictObject({ type: z.literal("elsewhere"), jobs: z.int().positive() }),
]);
export type PoolFrame = z.infer<typeof poolFrame>;
export type JobFrame = Extract<PoolFrame, { type: "job" }>;

// ---- agent → pool

const hello = z.strictObject({
  type: z.literal("hello"),
  protocol: z.int().nonnegative(),
  agentVersion: z.string().min(1).max(64),
  publicKey: hex(32),
  manifest,
  manifestSignature: base64Signature,
  /** The signature over `ligand-worker-v1\npool\nworker\nnonce\nsha256(token)\nsha256(JCS manifest)\n`. */
  signature: base64Signature,
});
const ready = z.strictObject({
  type: z.literal("ready"),
  /**
   * How many jobs the worker had received on this socket when it counted its slots. The pool subtracts the jobs that
   * are still in transit.
   */
  received: z.int().nonnegative(),
  slots: z
    .array(z.strictObject({ model: modelName, free: z.int().nonnegative().max(LIMITS.slotsPerModel) }))
    .max(LIMITS.modelsPerWorker),
});
const delta = z.strictObject({
  type: z.literal("delta"),
  ...lease,
  /** 0, 1, 2, …: a gap or repeat is a protocol error. */
  seq: z.int().nonnegative(),
  text: z.string().max(LIMITS.deltaTextChars),
  tokens: z.int().nonnegative().max(65_536),
  /**
   * If present, `text` is a part of the arguments of that call, not of the answer's text. Only the first frame of a call
   * has its id and name. Calls follow one another and are numbered from 0.
   */
  toolCall: z
    .strictObject({
      index: z
        .int()
        .nonnegative()
        .max(LIMITS.toolCallsPerMessage - 1),
      id: toolCallId.optional(),
      name: toolName.optional(),
    })
    .optional(),
});
/** One embedding. Embeddings follow the order of the inputs, one for each, all of the same length. */
const vector = z.strictObject({
  type: z.literal("vector"),
  ...lease,
  index: z
    .int()
    .nonnegative()
    .max(LIMITS.embeddingInputs - 1),
  /** Base64 of float32, little-endian. */
  vector: z
    .string()
    .min(1)
    .max(Math.ceil((LIMITS.embeddingDimensions * 4) / 3) * 4),
});
const logprob = z.number().max(0);
const alternative = z.strictObject({ token: z.string().max(LIMITS.logprobTokenChars), logprob });
export const tokenLogprob = z.strictObject({
  /** The token's own text, with U+FFFD for a part of a character. */
  token: z.string().max(LIMITS.logprobTokenChars),
  /** Natural logarithm of the model's probability, before temperature and top-p. */
  logprob,
  /** The likeliest first. */
  top: z.array(alternative).max(LIMITS.topLogprobs),
});
export type TokenLogprob = z.infer<typeof tokenLogprob>;
/** In v1.2: log probabilities of the tokens of the next text, in a delta or in `done`, if the request asks for them. */
const logprobs = z.strictObject({
  type: z.literal("logprobs"),
  ...lease,
  tokens: z.array(tokenLogprob).min(1).max(LIMITS.logprobsPerFrame),
});
const progress = z.strictObject({ type: z.literal("progress"), ...lease });
const usage = z.strictObject({
  promptTokens: tokenCount,
  completionTokens: tokenCount,
  /** In v1.2: the completion's tokens of reasoning, which no answer shows. */
  reasoningTokens: tokenCount.optional(),
});
const done = z.strictObject({
  type: z.literal("done"),
  ...lease,
  finishReason,
  usage,
  metering,
  meteringSignature: base64Signature,
  /** The whole answer, for a job that is not streamed; absent otherwise, and for embeddings. */
  text: z.string().optional(),
  /** With `text`: the calls that the model made. */
  toolCalls: toolCalls.optional(),
  /** In v1.2: the stop sequence of the request that ended the answer. */
  stopSequence: unicodeText.max(LIMITS.stopSequenceChars).optional(),
  /** In v1.2, for a job that counts: the prompt's tokens. Its usage is zero, because no model ran. */
  countedTokens: tokenCount.optional(),
});
const failed = z.strictObject({
  type: z.literal("failed"),
  ...lease,
  code: z.enum(JOB_FAILURES),
  /** A message for people, which the client sees. It contains no path, key or prompt. */
  message: z.string().max(500),
  retryable: z.boolean(),
  /** The parameter that the engine cannot honour, as the client named it. */
  param: z.string().max(200).optional(),
  /**
   * For `worker-busy`, in v1.1: seconds until the worker can run a job again. Absent: it did not try the job, and a
   * slot will become free.
   */
  retryAfterSeconds: z.int().positive().max(LIMITS.workerPauseSeconds).optional(),
});
const drain = z.strictObject({ type: z.literal("drain") });

/** Parsed before the strict shape, so that an older agent with another hello gets the close code 4408. */
export const outdatedHello = z.object({
  type: z.literal("hello"),
  protocol: z.int().max(WORKER_PROTOCOL.version - 1),
});

export const agentFrame = z.discriminatedUnion("type", [
  hello,
  ready,
  delta,
  vector,
  logprobs,
  progress,
  done,
  failed,
  drain,
]);
export type AgentFrame = z.infer<typeof agentFrame>;
export type Hello = z.infer<typeof hello>;
export type Usage = z.infer<typeof usage>;

/** The bytes that a worker signs to prove its key on this socket (docs/spec/workers.md#socket-protocol). All parts are lowercase hex. */
export function workerProofText(parts: {
  pool: string;
  worker: string;
  nonce: string;
  tokenSha256: string;
  manifestSha256: string;
}): string {
  return `ligand-worker-v1\n${parts.pool}\n${parts.worker}\n${parts.nonce}\n${parts.tokenSha256}\n${parts.manifestSha256}\n`;
}
