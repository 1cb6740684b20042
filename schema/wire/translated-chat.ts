/** A chat that a body of another API was translated into, and the rules it must keep. Pure. */
import { chatProblem } from "./chat-problem.ts";
import type { BodyProblem, ChatCompletionBody, MessageBody } from "./client-api.ts";
import { LIMITS } from "./limits.ts";

export interface TranslatedChat {
  readonly chat: ChatCompletionBody;
  /** For each message of the chat, the index of what it comes from in the body; null for the system's instructions. */
  readonly sources: readonly (number | null)[];
}

/** Collects the messages, each with its source. */
export class Conversation {
  readonly messages: MessageBody[] = [];
  readonly sources: (number | null)[] = [];

  add(message: MessageBody, source: number | null): void {
    this.messages.push(message);
    this.sources.push(source);
  }
}

/** How the other API calls what a chat calls `messages`, the system's instructions, and its other parameters. */
export interface ParameterNames {
  readonly messages: string;
  readonly instructions: string;
  rename(param: string): string;
}

/** What breaks the rules of a chat, by the names of the other API. */
export function translatedProblem({ chat, sources }: TranslatedChat, names: ParameterNames): BodyProblem | null {
  const problem = sizeProblem(chat) ?? chatProblem(chat);
  return problem && { ...problem, param: problem.param && paramOf(problem.param, sources, names) };
}

/** The body's own shape does not bound these: one item may become several messages, and several items one. */
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
