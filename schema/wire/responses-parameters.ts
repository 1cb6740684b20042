/** How each parameter of `POST /v1/responses` is treated. `responses-api.ts` has the shapes of the used ones. */
import { hint, type Members, neutral, type Parameter, refused, shape, used } from "./parameter-table.ts";

const LEAVE_OUT = "Leave it out.";
const STATELESS = "The pool does not store answers, so each request must contain the whole conversation.";
const SEND_ALL = "Send the items of the conversation in input.";
const CACHE_HINT = hint("The pool has no prompt cache that a client can control.");
const TEXT_ONLY = refused("Only text parts are supported.", "Send text parts only.");
const FUNCTIONS_ONLY = refused("Only tools of the type function are supported.", "Describe the tool as a function.");
const NO_LOGPROBS = {
  note: "The pool returns no log probabilities in this API.",
  instead: "Ask for logprobs at /v1/chat/completions.",
};
const USER = hint("The pool does not distinguish the users of one key.");

const inputText = shape({ type: used(), text: used(), prompt_cache_breakpoint: CACHE_HINT });
const content: Parameter = used({
  by: "type",
  variants: {
    input_text: inputText,
    // A part of an earlier answer. Its other members only describe that answer.
    output_text: shape({ type: used(), text: used() }, { ignoresOthers: true }),
    refusal: shape({ type: used(), refusal: used() }, { ignoresOthers: true }),
  },
  others: TEXT_ONLY,
});

export const RESPONSES_PARAMETERS: Members = shape({
  model: used(),
  input: used({
    by: "type",
    absent: "message",
    variants: {
      message: shape({ type: used(), role: used(), content }, { ignoresOthers: true }),
      function_call: shape({ type: used(), call_id: used(), name: used(), arguments: used() }, { ignoresOthers: true }),
      function_call_output: shape(
        {
          type: used(),
          call_id: used(),
          output: used({ by: "type", variants: { input_text: inputText }, others: TEXT_ONLY }),
        },
        { ignoresOthers: true },
      ),
      reasoning: hint("The model does not see earlier reasoning."),
      item_reference: refused(
        "The pool does not store items, so a request cannot refer to them.",
        "Set store: false, so that your SDK sends the items themselves.",
      ),
    },
    others: refused("Items are messages, function calls and their outputs.", "Send items of these types only."),
  }),
  instructions: used(undefined, { note: "They become the first system message." }),
  max_output_tokens: used(),
  temperature: used(),
  top_p: used(),
  stream: used(),
  stream_options: used({
    members: {
      include_obfuscation: neutral([false], {
        note: "Events are not padded.",
        instead: "Send false, or leave it out.",
      }),
    },
  }),
  text: used({
    members: {
      format: used({
        by: "type",
        variants: {
          text: shape({ type: used() }),
          json_object: shape({ type: used() }),
          json_schema: shape({ type: used(), name: used(), description: used(), schema: used(), strict: used() }),
        },
        others: refused("Formats are text, json_object and json_schema.", "Use one of them."),
      }),
      verbosity: neutral(["medium"], {
        note: "The model decides how long an answer is.",
        instead: "Ask for it in a message.",
      }),
    },
  }),
  tools: used({
    by: "type",
    variants: {
      function: shape({
        type: used(),
        name: used(),
        description: used(),
        parameters: used(),
        strict: used(),
        defer_loading: neutral([false], { note: "The model sees all tools from the start.", instead: LEAVE_OUT }),
        allowed_callers: neutral([["direct"]], { note: "Only the model itself calls tools.", instead: LEAVE_OUT }),
        cache_control: { ...CACHE_HINT, isUnpublished: true },
        output_schema: hint("The model does not see the output schema of a tool."),
      }),
    },
    others: FUNCTIONS_ONLY,
  }),
  tool_choice: used({
    by: "type",
    variants: { function: shape({ type: used(), name: used() }) },
    others: refused(
      "tool_choice must be none, auto, required, or one function.",
      "Send only the tools that the model may call.",
    ),
  }),
  parallel_tool_calls: used(),
  include: {
    treatment: "used",
    refuses: {
      when: (value: unknown) => Array.isArray(value) && value.includes("message.output_text.logprobs"),
      ...NO_LOGPROBS,
    },
  },
  top_logprobs: neutral([0], NO_LOGPROBS),
  reasoning: hint("The model decides how long it reasons."),
  truncation: neutral(["disabled", "auto"], {
    note: "The pool refuses a prompt that does not fit the context.",
    instead: LEAVE_OUT,
  }),
  store: neutral([false], { note: "The pool does not store answers.", instead: "Send false, or leave it out." }),
  background: neutral([false], {
    note: "The pool answers each request directly and has no background mode.",
    instead: "Send false, or leave it out.",
  }),
  previous_response_id: refused(STATELESS, SEND_ALL),
  conversation: refused(STATELESS, SEND_ALL),
  context_management: neutral([[]], {
    note: "The pool does not shorten a conversation.",
    instead: "Shorten it before you send it.",
  }),
  prompt: refused("The pool does not store prompts.", "Send the prompt in instructions and input."),
  moderation: refused("The pool does not moderate content.", LEAVE_OUT),
  service_tier: neutral(["auto", "default"], {
    note: "The pool has only one service tier.",
    instead: "Send auto, or leave it out.",
  }),
  client_metadata: { ...hint("The pool does not store it."), isUnpublished: true },
  max_tool_calls: { ...hint("The pool does not call tools itself."), isUnpublished: true },
  metadata: hint("The pool does not store it."),
  user: USER,
  safety_identifier: USER,
  prompt_cache_key: CACHE_HINT,
  prompt_cache_options: CACHE_HINT,
  prompt_cache_retention: CACHE_HINT,
});
