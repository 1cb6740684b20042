/** A chat translated from a body of another API, and the rules that it must keep. */
import { chatProblem } from "./chat-problem.ts";
import type { BodyProblem, ChatCompletionBody, MessageBody } from "./client-api.ts";
import { LIMITS } from "./limits.ts";

export interface TranslatedChat {
  readonly chat: ChatCompletionBody;
  /** For each message of the chat, the index of its source in the body; null for the system's instructions. */
  readonly sources: readonly (number | null)[];
}

/** The members that a chat takes over unchanged. */
type Common = Pick<ChatCompletionBody, "model" | "temperature" | "top_p" | "stream">;

export function commonMembers(
  { model, temperature, top_p, stream }: Common,
  { messages }: Conversation,
): Common & Pick<ChatCompletionBody, "messages"> {
  return { model, messages, temperature, top_p, stream };
}

type Calls = NonNullable<Extract<MessageBody, { role: "assistant" }>["tool_calls"]>;
export type Turn =
  | { role: "system" | "user"; content: string }
  | { role: "assistant"; content: string; tool_calls?: Calls }
  | { role: "tool"; content: string; tool_call_id: string };

/**
 * Collects the messages, each with its source. Other APIs allow several turns of one role in a row, and results of
 * calls after other turns. Chat templates allow neither: turns of one role become one, and a result follows its call.
 */
export class Conversation {
  readonly messages: Turn[] = [];
  readonly sources: (number | null)[] = [];
  /** By the id of a call without a result: the turn that contains the call. */
  readonly #open = new Map<string, Turn>();

  add(turn: Turn, source: number | null): void {
    if (turn.role === "tool") this.#addResult(turn, source);
    else this.#addTurn(turn, source);
  }

  /** Calls that have no result yet, in their order. */
  get unanswered(): readonly string[] {
    return [...this.#open.keys()];
  }

  #addTurn(turn: Exclude<Turn, { role: "tool" }>, source: number | null): void {
    const last = this.messages.at(-1);
    const before = last?.role === turn.role ? last : undefined;
    if (before) {
      before.content = paragraphs([before.content, turn.content]);
      if (turn.role === "assistant" && before.role === "assistant" && turn.tool_calls) {
        before.tool_calls ??= [];
        before.tool_calls.push(...turn.tool_calls);
      }
      this.sources[this.sources.length - 1] ??= source;
    } else {
      this.messages.push(turn);
      this.sources.push(source);
    }
    if (turn.role !== "assistant") return;
    for (const { id } of turn.tool_calls ?? []) this.#open.set(id, before ?? turn);
  }

  #addResult(turn: Extract<Turn, { role: "tool" }>, source: number | null): void {
    const caller = this.#open.get(turn.tool_call_id);
    this.#open.delete(turn.tool_call_id);
    let at = caller ? this.messages.lastIndexOf(caller) + 1 : this.messages.length;
    while (this.messages[at]?.role === "tool") at += 1;
    this.messages.splice(at, 0, turn);
    this.sources.splice(at, 0, source);
  }
}

/** Without a break between them, the last word of one text would run into the next. */
export function paragraphs(texts: readonly string[]): string {
  return texts.filter((text) => text !== "").join("\n\n");
}

/** The other API's names for `messages`, the system's instructions and the other parameters of a chat. */
export interface ParameterNames {
  readonly messages: string;
  readonly instructions: string;
  rename(param: string): string;
}

/** The first problem of the chat, with the other API's parameter names. */
export function translatedProblem({ chat, sources }: TranslatedChat, names: ParameterNames): BodyProblem | null {
  const problem = sizeProblem(chat) ?? chatProblem(chat);
  return problem && { ...problem, param: problem.param && paramOf(problem.param, sources, names) };
}

/**
 * Limits that the shape of the body cannot express: one item may become several messages, and several items one
 * message.
 */
function sizeProblem({ messages }: ChatCompletionBody): BodyProblem | null {
  if (messages.length > LIMITS.messagesPerRequest) {
    return tooMany("messages", `A conversation has at most ${LIMITS.messagesPerRequest} messages and tool results.`);
  }
  const at = messages.findIndex(
    (message) => message.role === "assistant" && (message.tool_calls?.length ?? 0) > LIMITS.toolCallsPerMessage,
  );
  if (at < 0) return null;
  return tooMany(`messages.${at}`, `An answer has at most ${LIMITS.toolCallsPerMessage} tool calls.`);
}

const tooMany = (param: string, message: string): BodyProblem => ({ code: "http/invalid-body", param, message });

function paramOf(param: string, sources: readonly (number | null)[], names: ParameterNames): string {
  const [whole, at] = /^messages(?:\.(\d+).*)?$/.exec(param) ?? [];
  if (whole === undefined) return names.rename(param);
  if (at === undefined) return names.messages;
  const source = sources[Number(at)] ?? null;
  return source === null ? names.instructions : `${names.messages}.${source}`;
}
