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
  /** Ends of a turn that the chat template writes and the vocabulary does not mark as ends. */
  readonly stopTokens: readonly Token[];
  readonly stopTexts: readonly string[];
  /** How this model writes calls; null where no tools were offered. */
  readonly calls: CallSyntax | null;
}

export interface PromptMaker {
  chat(request: Pick<ChatRequest, "messages" | "tools">): Prompt;
  completion(prompt: string): Prompt;
  /** What an embedding is made of; the vocabulary's own beginning and end not included. */
  text(text: string): Token[];
  /** A lower bound of the tokens that text takes, without the work of tokenising it. */
  fewestTokens(text: string): number;
  /** Why chats are not written as the file's own template says, and how they are; null where they are. */
  readonly otherTemplate: string | null;
}

/**
 * Makes a model's prompts. Only the chat template itself may produce control tokens: message text is tokenised apart,
 * and whatever in it looks like a control token stays plain text.
 */
export function promptMaker(
  model: LlamaModel,
  template = model.fileInfo.metadata?.tokenizer?.chat_template,
): PromptMaker {
  const { wrapper, why } = chatWrapper(model, template);
  const plain = plainTokenizer(model, template ?? "");
  const longestToken = longestTokenBytes(model);
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
        // One by one: a spread of a long prompt overflows the stack.
        for (const token of tokenized(part, continues)) tokens.push(token);
      }
      const stopTokens: Token[] = [];
      const stopTexts: string[] = [];
      for (const trigger of stopGenerationTriggers) {
        const first = trigger.tokenize(model.tokenizer, "trimLeadingSpace")[0];
        if (first !== undefined && model.isSpecialToken(first)) stopTokens.push(first);
        // A trigger of plain white space would end an answer at its first space.
        else if (trigger.toString().trim() !== "") stopTexts.push(trigger.toString());
      }
      const calls = tools.length > 0 ? callSyntax(wrapper, model) : null;
      return { tokens: withBos(tokens), stopTokens, stopTexts, calls };
    },
    completion: (prompt) => ({ tokens: withBos(plain(prompt, false)), stopTokens: [], stopTexts: [], calls: null }),
    text: (text) => plain(text, false),
    fewestTokens: (text) => Math.floor(Buffer.byteLength(text) / longestToken),
    otherTemplate: why === null ? null : `${why}; chats are written with the template ${wrapper.wrapperName} instead.`,
  };
}

/**
 * Tokenising a body of megabytes takes a second in which nothing else in this process moves; where no token can be that
 * long, the answer is known before. Infinite for vocabularies that may drop characters.
 */
function longestTokenBytes(model: LlamaModel): number {
  const { vocabularyType } = model;
  const vocabulary = model.fileInfo.metadata?.tokenizer?.ggml?.tokens;
  const keepsBytes = vocabularyType === LlamaVocabularyType.bpe || vocabularyType === LlamaVocabularyType.spm;
  if (!keepsBytes || !Array.isArray(vocabulary)) return Infinity;
  return vocabulary.reduce((longest, token) => Math.max(longest, Buffer.byteLength(token)), 1);
}

/** The file's own chat template where it can be rendered; else what the library knows of that kind of model. */
function chatWrapper(
  model: LlamaModel,
  template: string | undefined,
): { readonly wrapper: ChatWrapper; readonly why: string | null } {
  let why = "its file has no chat template";
  if (template !== undefined) {
    try {
      const options = { template, tokenizer: model.tokenizer, trimLeadingWhitespaceInResponses: false };
      const own = new JinjaTemplateChatWrapper(options);
      const wrapper = callSyntax(own, model)
        ? own
        : new JinjaTemplateChatWrapper({ ...options, functionCallMessageTemplate: "noJinja" });
      wrapper.generateContextState({ chatHistory: history([{ role: "user", content: "Hello" }]) });
      return { wrapper, why: null };
    } catch (error) {
      // Templates are programs of strangers: one that does not run is no reason to refuse the model.
      const [said = ""] = (error instanceof Error ? error.message : String(error)).split("\n");
      why = `the chat template of its file does not run (${said.slice(0, 200)})`;
    }
  }
  return { wrapper: resolveChatWrapper(model), why };
}

/**
 * The answer that is asked for is the empty last turn; a last message of the assistant is continued. Calls, their
 * results and the text that follows are one turn of the model.
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

/** A template writes a value as JSON: text that is JSON already is not quoted once more. */
function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function availableFunctions(tools: NonNullable<ChatRequest["tools"]>): ChatModelFunctions {
  const entries = tools.map(({ name, description, parameters }) => {
    // The library's type is the part of JSON Schema that its own grammars know; here it only writes the text.
    const params = parameters as ChatModelFunctions[string]["params"];
    return [name, { ...(description !== undefined && { description }), ...(params && { params }) }] as const;
  });
  return Object.fromEntries(entries);
}

/** Stand-ins that no template writes by itself. */
const NAMED = Object.freeze({ name: "ligand_name_7f3a", key: "ligand_key_9c1e" });

/** Read off what the template makes of a call; null where it writes arguments in a way that is not plain JSON. */
function callSyntax(wrapper: ChatWrapper, model: LlamaModel): CallSyntax | null {
  const written = wrapper.generateFunctionCall(NAMED.name, { [NAMED.key]: 1 }).toString();
  const call = new RegExp(`^(.*?)${NAMED.name}(.*?)\\{\\s*"${NAMED.key}"\\s*:\\s*1\\s*\\}(.*)$`, "s").exec(written);
  if (call === null) return null;
  const [, prefix = "", before = "", after = ""] = call;
  const named = (text: string) => (name: string) => text.replaceAll(NAMED.name, () => name);
  const many = wrapper.settings.functions.parallelism?.call;
  const plain = (text: string | LlamaText | undefined) => (text === undefined ? "" : LlamaText(text).toString());
  // A template ends the turn after its calls; the model does that by a token of its own.
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
 * Tokenises text in which nothing is special. The library leaves control tokens alone here, but a vocabulary may mark
 * its turn markers as "user defined", which are always matched; such a match is broken up after its first character.
 */
function plainTokenizer(model: LlamaModel, template: string): (text: string, continues: boolean) => Token[] {
  const known = new Map<Token, boolean>();
  const isMarker = (token: Token): boolean => {
    const cached = known.get(token);
    if (cached !== undefined) return cached;
    const attributes = model.getTokenAttributes(token);
    const inTemplate = () => template.includes(model.detokenize([token], true));
    const marker = attributes.control || model.isEogToken(token) || (attributes.userDefined && inTemplate());
    known.set(token, marker);
    return marker;
  };
  const tokenize = (text: string, continues: boolean): Token[] => {
    const tokens = model.tokenize(text, false, continues ? "trimLeadingSpace" : undefined);
    const marker = tokens.find(isMarker);
    if (marker === undefined) return tokens;
    const written = model.detokenize([marker], true);
    const parts = text.split(written);
    if (written.length < 2 || parts.length < 2) return tokens.filter((token) => !isMarker(token));
    const [first, rest] = [written.slice(0, 1), written.slice(1)];
    return parts.flatMap((part, index) => {
      const head = index === 0 ? part : rest + part;
      const piece = index === parts.length - 1 ? head : head + first;
      return tokenize(piece, continues || index > 0);
    });
  };
  return tokenize;
}
