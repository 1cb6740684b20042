import {
  type ChatHistoryItem,
  type ChatModelFunctionCall,
  type ChatModelFunctions,
  type ChatModelResponse,
  type ChatWrapper,
  JinjaTemplateChatWrapper,
  type LlamaModel,
  LlamaText,
  LlamaVocabularyType,
  resolveChatWrapper,
  SpecialToken,
  SpecialTokensText,
  type Token,
} from "node-llama-cpp";
import type { ChatRequest } from "../../../schema/wire/worker-frames.ts";
import type { CallSyntax } from "../grammar/call-grammar.ts";

export interface Prompt {
  readonly tokens: Token[];
  /** End-of-turn tokens and texts that the chat template writes but the vocabulary does not mark as ends. */
  readonly stopTokens: readonly Token[];
  readonly stopTexts: readonly string[];
  /** How this model writes calls. Null if the request offers no tools. */
  readonly calls: CallSyntax | null;
}

export interface PromptBuilder {
  chat(request: Pick<ChatRequest, "messages" | "tools">): Prompt;
  completion(prompt: string): Prompt;
  /** The tokens of a text, for embeddings, without the vocabulary's begin and end tokens. */
  text(text: string): Token[];
  /** A lower bound of the number of tokens in a text, found without tokenising it. */
  minTokens(text: string): number;
  /** Says that another template replaces the one of the model file, and why. Null if the file's template is used. */
  readonly templateWarning: string | null;
}

/**
 * Builds the prompts of a model (docs/spec/engines.md#prompts). Only the chat template may produce control tokens. The
 * text of messages is tokenised separately, so that text which looks like a control token stays plain text.
 */
export function promptBuilder(
  model: LlamaModel,
  template = model.fileInfo.metadata?.tokenizer?.chat_template,
): PromptBuilder {
  const { wrapper, problem } = chatWrapper(model, template);
  const plain = plainTokenizer(model, template ?? "");
  const maxTokenBytes = longestTokenBytes(model);
  const { bos, shouldPrependBosToken } = model.tokens;

  const withBos = (tokens: Token[]): Token[] =>
    bos !== null && tokens[0] !== bos && (shouldPrependBosToken || tokens.length === 0) ? [bos, ...tokens] : tokens;

  const tokenized = (part: string | SpecialToken | SpecialTokensText, continues: boolean): Token[] => {
    if (part instanceof SpecialToken) return part.tokenize(model.tokenizer);
    return part instanceof SpecialTokensText ? part.tokenize(model.tokenizer, continues) : plain(part, continues);
  };

  return {
    chat({ messages, tools = [] }) {
      const { contextText, stopGenerationTriggers } = wrapper.generateContextState({
        chatHistory: history(messages),
        ...(tools.length > 0 && { availableFunctions: availableFunctions(tools), documentFunctionParams: true }),
      });
      const tokens: Token[] = [];
      for (const part of contextText.values) {
        const continues = tokens.length > 0;
        // A spread of a long prompt would overflow the stack.
        for (const token of tokenized(part, continues)) tokens.push(token);
      }
      const stopTokens: Token[] = [];
      const stopTexts: string[] = [];
      for (const trigger of stopGenerationTriggers) {
        const first = trigger.tokenize(model.tokenizer, "trimLeadingSpace")[0];
        if (first !== undefined && model.isSpecialToken(first)) stopTokens.push(first);
        // White space as a trigger would end an answer at its first space.
        else if (trigger.toString().trim() !== "") stopTexts.push(trigger.toString());
      }
      const calls = tools.length > 0 ? callSyntax(wrapper, model) : null;
      return { tokens: withBos(tokens), stopTokens, stopTexts, calls };
    },
    completion: (prompt) => ({ tokens: withBos(plain(prompt, false)), stopTokens: [], stopTexts: [], calls: null }),
    text: (text) => plain(text, false),
    minTokens: (text) => Math.floor(Buffer.byteLength(text) / maxTokenBytes),
    templateWarning:
      problem === null ? null : `${problem}; chats are written with the template ${wrapper.wrapperName} instead.`,
  };
}

/**
 * The bytes of the longest token. Tokenising megabytes of text blocks this process for a second; with this number, a text
 * that cannot fit is refused without tokenising it. Infinite for vocabularies that may drop characters.
 */
function longestTokenBytes(model: LlamaModel): number {
  const { vocabularyType } = model;
  const vocabulary = model.fileInfo.metadata?.tokenizer?.ggml?.tokens;
  const keepsBytes = vocabularyType === LlamaVocabularyType.bpe || vocabularyType === LlamaVocabularyType.spm;
  if (!keepsBytes || !Array.isArray(vocabulary)) return Infinity;
  return vocabulary.reduce((longest, token) => Math.max(longest, Buffer.byteLength(token)), 1);
}

/** Uses the chat template of the file if it can be rendered, else the library's template for that kind of model. */
function chatWrapper(
  model: LlamaModel,
  template: string | undefined,
): { readonly wrapper: ChatWrapper; readonly problem: string | null } {
  let problem = "its file has no chat template";
  if (template !== undefined) {
    try {
      const options = { template, tokenizer: model.tokenizer, trimLeadingWhitespaceInResponses: false };
      const own = new JinjaTemplateChatWrapper(options);
      const wrapper = callSyntax(own, model)
        ? own
        : new JinjaTemplateChatWrapper({ ...options, functionCallMessageTemplate: "noJinja" });
      wrapper.generateContextState({ chatHistory: history([{ role: "user", content: "Hello" }]) });
      return { wrapper, problem: null };
    } catch (error) {
      // A template is a program from an unknown author. The model is usable without it.
      const [reason = ""] = (error instanceof Error ? error.message : String(error)).split("\n");
      problem = `the chat template of its file does not run (${reason.slice(0, 200)})`;
    }
  }
  return { wrapper: resolveChatWrapper(model), problem };
}

/**
 * Converts messages to the library's chat history. The last turn is the model's: empty, or the last assistant message,
 * which the model then continues. Calls, their results and the text after them are one turn of the model.
 */
function history(messages: ChatRequest["messages"]): ChatHistoryItem[] {
  const items: ChatHistoryItem[] = [];
  const open = new Map<string, ChatModelFunctionCall>();
  const turn = (continues: boolean): ChatModelResponse => {
    const last = items.at(-1);
    if (continues && last?.type === "model") return last;
    const next: ChatModelResponse = { type: "model", response: [] };
    items.push(next);
    return next;
  };
  for (const message of messages) {
    switch (message.role) {
      case "system":
        items.push({ type: "system", text: message.content });
        break;
      case "user":
        items.push({ type: "user", text: message.content });
        break;
      case "assistant": {
        const { response } = turn(open.size > 0);
        if (message.content !== "" || !message.toolCalls?.length) response.push(message.content);
        for (const { id, name, arguments: given } of message.toolCalls ?? []) {
          const call: ChatModelFunctionCall = { type: "functionCall", name, params: jsonOr(given), result: undefined };
          open.set(id, call);
          response.push(call);
        }
        break;
      }
      case "tool": {
        const call = open.get(message.toolCallId);
        if (call) call.result = jsonOr(message.content);
        break;
      }
      default:
        message satisfies never;
    }
    if (message.role === "user") open.clear();
  }
  const last = items.at(-1);
  if (last?.type !== "model") items.push({ type: "model", response: [""] });
  else if (typeof last.response.at(-1) !== "string") last.response.push("");
  return items;
}

/** Parses text that is JSON already, because the template writes the value as JSON and must not quote it again. */
function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function availableFunctions(tools: NonNullable<ChatRequest["tools"]>): ChatModelFunctions {
  const entries = tools.map(({ name, description, parameters }) => {
    // The library's type covers only the JSON Schema of its own grammars. Here the schema is only written as text.
    const params = parameters as ChatModelFunctions[string]["params"];
    return [name, { ...(description !== undefined && { description }), ...(params && { params }) }] as const;
  });
  return Object.fromEntries(entries);
}

/** Names that no template contains. */
const PLACEHOLDERS = Object.freeze({ name: "ligand_name_7f3a", key: "ligand_key_9c1e" });

/** Derives the syntax of calls from what the template writes for one. Null if it does not write arguments as JSON. */
function callSyntax(wrapper: ChatWrapper, model: LlamaModel): CallSyntax | null {
  const written = wrapper.generateFunctionCall(PLACEHOLDERS.name, { [PLACEHOLDERS.key]: 1 }).toString();
  const call = new RegExp(
    `^(.*?)${PLACEHOLDERS.name}(.*?)\\{\\s*"${PLACEHOLDERS.key}"\\s*:\\s*1\\s*\\}(.*)$`,
    "s",
  ).exec(written);
  if (call === null) return null;
  const [, prefix = "", before = "", after = ""] = call;
  const named = (text: string) => (name: string) => text.replaceAll(PLACEHOLDERS.name, () => name);
  const many = wrapper.settings.functions.parallelism?.call;
  const plain = (text: string | LlamaText | undefined) => (text === undefined ? "" : LlamaText(text).toString());
  // The template ends the turn after the calls. During generation the model's end token does that.
  const withoutEnd = (text: string): string => {
    const tokens = model.tokenize(text, true);
    const end = tokens.findIndex((token) => model.isEogToken(token));
    return end < 0 ? text : model.detokenize(tokens.slice(0, end), true);
  };
  return {
    open: plain(many?.sectionPrefix),
    close: withoutEnd(plain(many?.sectionSuffix)),
    between: many === undefined ? null : plain(many.betweenCalls),
    prefix,
    beforeArguments: named(before),
    afterArguments: named(withoutEnd(after)),
  };
}

/**
 * Tokenises text without control tokens. The library does not match control tokens here, but it always matches tokens
 * that a vocabulary marks as "user defined", and some vocabularies mark their turn markers so. Such a marker is split
 * after its first character.
 */
function plainTokenizer(model: LlamaModel, template: string): (text: string, continues: boolean) => Token[] {
  const cache = new Map<Token, boolean>();
  const isMarker = (token: Token): boolean => {
    const cached = cache.get(token);
    if (cached !== undefined) return cached;
    const attributes = model.getTokenAttributes(token);
    const inTemplate = () => template.includes(model.detokenize([token], true));
    const marker = attributes.control || model.isEogToken(token) || (attributes.userDefined && inTemplate());
    cache.set(token, marker);
    return marker;
  };
  const tokenize = (text: string, continues: boolean): Token[] => {
    const tokens = model.tokenize(text, false, continues ? "trimLeadingSpace" : undefined);
    const marker = tokens.find(isMarker);
    if (marker === undefined) return tokens;
    const markerText = model.detokenize([marker], true);
    const parts = text.split(markerText);
    if (markerText.length < 2 || parts.length < 2) return tokens.filter((token) => !isMarker(token));
    const [first, rest] = [markerText.slice(0, 1), markerText.slice(1)];
    return parts.flatMap((part, index) => {
      const head = index === 0 ? part : rest + part;
      const piece = index === parts.length - 1 ? head : head + first;
      return tokenize(piece, continues || index > 0);
    });
  };
  return tokenize;
}
