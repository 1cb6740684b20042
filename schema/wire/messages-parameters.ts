/** How each parameter of `POST /v1/messages` is treated. `messages-api.ts` has the shapes of the used ones. */
import { hint, type Members, neutral, type Parameter, refused, shape, used, type Variant } from "./parameter-table.ts";

const LEAVE_OUT = "Leave it out.";
const CACHE_HINT = hint("The pool has no prompt cache that a client can control.");
const TEXT_ONLY = refused("Blocks of this type are not supported.", "Send the content as text.");
const OWN_TOOLS_ONLY = refused(
  "Only tools that the client runs itself are supported.",
  "Describe the tool with name, description and input_schema.",
);
const THOUGHTS = hint("The model does not see earlier reasoning.");
const CITATIONS = hint("The model does not see citations.");
const UNPUBLISHED = { isUnpublished: true } as const;

const text: Variant = shape({ type: used(), text: used(), cache_control: CACHE_HINT, citations: CITATIONS });
const texts: Parameter = used({ by: "type", variants: { text }, others: TEXT_ONLY });
/** Blocks of all roles. The rules in `messages-request.ts` say which role may send which block. */
const blocks: Parameter = used({
  by: "type",
  variants: {
    text,
    tool_use: shape(
      { type: used(), id: used(), name: used(), input: used(), cache_control: CACHE_HINT },
      { ignoresOthers: true },
    ),
    tool_result: shape(
      { type: used(), tool_use_id: used(), content: texts, is_error: used(), cache_control: CACHE_HINT },
      { ignoresOthers: true },
    ),
    thinking: THOUGHTS,
    redacted_thinking: THOUGHTS,
  },
  others: TEXT_ONLY,
});
const turn = shape({ role: used(), content: blocks });

const counted = {
  model: used(),
  messages: used({
    by: "role",
    variants: { user: turn, assistant: turn, system: shape({ role: used(), content: texts }) },
  }),
  system: texts,
  tools: used({
    by: "type",
    absent: "custom",
    variants: {
      custom: shape({
        type: used(),
        name: used(),
        description: used(),
        input_schema: used(),
        strict: used(),
        cache_control: CACHE_HINT,
        eager_input_streaming: hint("The pool always streams the input as the model generates it."),
        input_examples: hint("The model does not see examples."),
        defer_loading: neutral([false], { note: "The model sees all tools from the start.", instead: LEAVE_OUT }),
        allowed_callers: neutral([["direct"]], { note: "Only the model itself calls tools.", instead: LEAVE_OUT }),
      }),
    },
    others: OWN_TOOLS_ONLY,
  }),
  tool_choice: used({
    by: "type",
    variants: {
      auto: shape({ type: used(), disable_parallel_tool_use: used() }),
      any: shape({ type: used(), disable_parallel_tool_use: used() }),
      tool: shape({ type: used(), name: used(), disable_parallel_tool_use: used() }),
      none: shape({ type: used() }),
    },
    others: refused("tool_choice must be auto, any, tool or none.", "Use one of them."),
  }),
  output_config: used({
    members: {
      effort: hint("The model decides how long it reasons."),
      format: used({
        by: "type",
        variants: { json_schema: shape({ type: used(), schema: used() }) },
        others: refused("The only supported format is json_schema.", "Use it, or leave it out."),
      }),
    },
  }),
  thinking: hint("The model decides whether it reasons. The answer does not contain the reasoning."),
  cache_control: CACHE_HINT,
  context_management: { ...hint("The pool does not shorten a conversation."), ...UNPUBLISHED },
  mcp_servers: {
    ...neutral([[]], { note: "The pool does not call tools itself.", instead: "Offer the tools in tools." }),
    ...UNPUBLISHED,
  } as Parameter,
  speed: neutral(["standard"], { note: "The pool has only one speed.", instead: LEAVE_OUT }),
  user_profile_id: hint("The pool does not distinguish the users of one key."),
  workspace_id: hint("The pool has no workspaces."),
} satisfies Record<string, Parameter>;

export const COUNT_TOKENS_PARAMETERS: Members = shape(counted);

export const MESSAGES_PARAMETERS: Members = shape({
  ...counted,
  max_tokens: used(),
  stop_sequences: used(),
  stream: used(),
  temperature: used(undefined, UNPUBLISHED),
  top_p: used(undefined, UNPUBLISHED),
  top_k: used(undefined, UNPUBLISHED),
  // The client's tool runner first asks for a thread. After this error code it sends the whole conversation each time.
  thread: refused(
    "The pool stores no threads between requests.",
    "Send the whole conversation, and leave out thread.",
    {
      code: "http/threads-unsupported",
      ...UNPUBLISHED,
    },
  ),
  container: refused("The pool runs no containers.", LEAVE_OUT),
  inference_geo: refused("The pool does not know where its workers are.", LEAVE_OUT),
  metadata: hint("The pool does not distinguish the users of one key."),
  diagnostics: hint("The pool has no prompt cache to diagnose."),
  service_tier: neutral(["auto", "standard_only"], { note: "The pool has only one service tier.", instead: LEAVE_OUT }),
});
