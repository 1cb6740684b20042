/**
 * Every published parameter of the requests that a pool answers, with its treatment. All others are
 * refused as unknown. `client-api.ts` has the shapes of the used ones, docs/api-parameters.md shows these tables, and
 * `test/unit/wire/api-parameters.test.ts` compares them with the types of the official SDK.
 */
import { COUNT_TOKENS_PARAMETERS, MESSAGES_PARAMETERS } from "./messages-parameters.ts";
import { hint, type Members, neutral, type Parameter, refused, shape, used } from "./parameter-table.ts";
import { RESPONSES_PARAMETERS } from "./responses-parameters.ts";

const LEAVE_OUT = "Leave it out.";
const CACHE_HINT = hint("The pool has no prompt cache that a client can control.");
const TEXT_ONLY = refused("Only text parts are supported.", "Send text parts only.");
const FUNCTIONS_ONLY = refused("Only tools of the type function are supported.", "Describe the tool as a function.");
const TEXTS: Parameter = {
  treatment: "used",
  refuses: {
    when: (value) => Array.isArray(value) && value.flat().some(Number.isInteger),
    note: "Token ids depend on the tokenizer, so the pool does not accept them.",
    instead: "Send text. In LangChain, set check_embedding_ctx_length=False.",
  },
};
const USER = hint("The pool does not distinguish the users of one key.");

const textPart = shape({
  type: used(),
  text: used(),
  prompt_cache_breakpoint: CACHE_HINT,
  cache_control: { ...CACHE_HINT, isUnpublished: true },
});
const textParts = used({ by: "type", variants: { text: textPart }, others: TEXT_ONLY });
/** A name would tell speakers of one role apart, but chat templates have no place for it. */
const speaker = hint("The model does not see the speaker's name.");
const instruction = shape({ role: used(), content: textParts, name: speaker });

/** An earlier answer. The model sees its text and its calls; other members only describe that answer, so they are ignored. */
const assistantMessage = shape(
  {
    role: used(),
    content: used({
      by: "type",
      variants: {
        text: shape({ type: used(), text: used(), prompt_cache_breakpoint: CACHE_HINT }, { ignoresOthers: true }),
        refusal: shape({ type: used(), refusal: used() }, { ignoresOthers: true }),
        output_text: { ...shape({ type: used(), text: used() }, { ignoresOthers: true }), isUnpublished: true },
        thinking: { ...hint("The model does not see earlier reasoning."), isUnpublished: true },
        redacted_thinking: { ...hint("The model does not see earlier reasoning."), isUnpublished: true },
        reasoning: { ...hint("The model does not see earlier reasoning."), isUnpublished: true },
      },
      others: TEXT_ONLY,
    }),
    refusal: used(undefined, { note: "It becomes the text of the message if the message has no content." }),
    name: speaker,
    tool_calls: used({
      by: "type",
      absent: "function",
      variants: {
        function: shape(
          {
            id: used(),
            type: used(),
            function: used({ members: { name: used(), arguments: used() }, ignoresOthers: true }),
          },
          { ignoresOthers: true },
        ),
        custom: FUNCTIONS_ONLY,
      },
      others: FUNCTIONS_ONLY,
    }),
    function_call: refused(
      "The pool reads function calls from tool_calls.",
      "Send the call in tool_calls, and its result as a tool message.",
    ),
    audio: refused("The pool does not have that audio.", "Send a transcript of it as content."),
    // Two services use this parameter to continue this message.
    prefix: neutral([false], {
      note: "The pool always continues a final assistant message.",
      instead: LEAVE_OUT,
      isUnpublished: true,
    }),
    partial: neutral([false], {
      note: "The pool always continues a final assistant message.",
      instead: LEAVE_OUT,
      isUnpublished: true,
    }),
  },
  { ignoresOthers: true },
);

const NO_PENALTIES = { note: "The pool applies no such penalty.", instead: "Send 0, or leave it out." };
const LOGPROBS = {
  note: "The llama engine refuses it together with tools or a response format.",
};
const generation = {
  model: used(),
  temperature: used(),
  top_p: used(),
  seed: used(),
  stop: used(),
  stream: used(),
  stream_options: used({
    members: {
      include_usage: used(),
      include_obfuscation: neutral([false], {
        note: "Chunks are not padded.",
        instead: "Send false, or leave it out.",
      }),
    },
  }),
  max_tokens: used(),
  n: used(undefined, { note: "At most 8. Each answer counts as a request and, if it is streamed, as a stream." }),
  frequency_penalty: neutral([0], NO_PENALTIES),
  presence_penalty: neutral([0], NO_PENALTIES),
  logit_bias: neutral([{}], { note: "The pool cannot change the probability of single tokens.", instead: LEAVE_OUT }),
  user: USER,
} satisfies Record<string, Parameter>;

export const CHAT_PARAMETERS: Members = shape({
  ...generation,
  messages: used({
    by: "role",
    variants: {
      system: instruction,
      developer: instruction,
      user: shape({
        role: used(),
        content: used({
          by: "type",
          variants: { text: textPart, image_url: TEXT_ONLY, input_audio: TEXT_ONLY, file: TEXT_ONLY },
          others: TEXT_ONLY,
        }),
        name: speaker,
      }),
      assistant: assistantMessage,
      tool: shape({
        role: used(),
        content: textParts,
        tool_call_id: used(),
        name: { ...hint("The function call already has the name."), isUnpublished: true },
      }),
      function: refused("Messages of the role function are not supported.", "Use the role tool."),
    },
  }),
  max_completion_tokens: used(undefined, { note: "It overrides max_tokens." }),
  response_format: used({
    by: "type",
    variants: {
      text: shape({ type: used() }),
      json_object: shape({ type: used() }),
      json_schema: shape({
        type: used(),
        json_schema: used({ members: { name: used(), description: used(), schema: used(), strict: used() } }),
      }),
    },
    others: refused("Response formats are text, json_object and json_schema.", "Use one of them."),
  }),
  tools: used({
    by: "type",
    variants: {
      function: shape({
        type: used(),
        function: used({ members: { name: used(), description: used(), parameters: used(), strict: used() } }),
        cache_control: { ...CACHE_HINT, isUnpublished: true },
      }),
      custom: FUNCTIONS_ONLY,
    },
    others: FUNCTIONS_ONLY,
  }),
  tool_choice: used({
    by: "type",
    variants: {
      function: shape({ type: used(), function: used({ members: { name: used() } }) }),
      allowed_tools: refused(
        "A list of allowed tools is not supported.",
        "Send only the tools that the model may call.",
      ),
      custom: FUNCTIONS_ONLY,
    },
    others: FUNCTIONS_ONLY,
  }),
  parallel_tool_calls: used(),
  logprobs: used(undefined, LOGPROBS),
  top_logprobs: used(undefined, { note: "It requires logprobs." }),
  functions: neutral([[]], { note: "The pool supports functions only as tools.", instead: "Send them in tools." }),
  function_call: neutral(["none", "auto"], {
    note: "The pool supports functions only as tools.",
    instead: "Send tool_choice.",
  }),
  modalities: neutral([["text"], []], {
    note: "The pool answers with text only.",
    instead: 'Send ["text"], or leave it out.',
  }),
  audio: refused("The pool answers with text only.", LEAVE_OUT),
  verbosity: neutral(["medium"], {
    note: "The model decides how long an answer is.",
    instead: "Ask for it in a message.",
  }),
  web_search_options: refused("The pool cannot search the web.", "Offer a search function as a tool."),
  moderation: refused("The pool does not moderate content.", LEAVE_OUT),
  store: neutral([false], { note: "The pool does not store answers.", instead: "Send false, or leave it out." }),
  // A tier decides how fast an answer comes and what it costs: so a client must not get another tier than it asked for.
  service_tier: neutral(["auto", "default"], {
    note: "The pool has only one service tier.",
    instead: "Send auto, or leave it out.",
  }),
  reasoning_effort: hint("The model decides how long it reasons."),
  prediction: hint("The pool ignores predicted output."),
  prompt_cache_key: CACHE_HINT,
  prompt_cache_options: CACHE_HINT,
  prompt_cache_retention: CACHE_HINT,
  safety_identifier: USER,
  metadata: hint("The pool does not store it."),
});

export const COMPLETION_PARAMETERS: Members = shape({
  ...generation,
  prompt: TEXTS,
  best_of: used(undefined, {
    note: "Accepted if it is 1 or equal to n, because the pool returns every answer that it generates.",
  }),
  echo: neutral([false], {
    note: "The pool does not repeat the prompt in the answer.",
    instead: "Add the prompt to the answer yourself.",
  }),
  // 0 requests the probabilities of the answer's own tokens.
  logprobs: used(),
  suffix: neutral([""], { note: "The pool does not insert text before a suffix.", instead: LEAVE_OUT }),
});

export const EMBEDDING_PARAMETERS: Members = shape({
  model: used(),
  input: TEXTS,
  encoding_format: used(),
  dimensions: used(undefined, {
    note: "Accepted if it is the model's own number of dimensions. The pool does not shorten vectors.",
  }),
  user: USER,
});

/** All tables, by the path of the request. */
export const API_PARAMETERS = {
  "/v1/chat/completions": CHAT_PARAMETERS,
  "/v1/completions": COMPLETION_PARAMETERS,
  "/v1/embeddings": EMBEDDING_PARAMETERS,
  "/v1/responses": RESPONSES_PARAMETERS,
  "/v1/messages": MESSAGES_PARAMETERS,
  "/v1/messages/count_tokens": COUNT_TOKENS_PARAMETERS,
} as const satisfies Readonly<Record<string, Members>>;
