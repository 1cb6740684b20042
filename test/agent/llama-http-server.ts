import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import {
  type ChatHistoryItem,
  getLlama,
  LlamaChatSession,
  LlamaCompletion,
  type LlamaContextSequence,
  LlamaLogLevel,
} from "node-llama-cpp";
import { EMBEDDED_MODEL } from "../../worker-agent/models/embedded.ts";
import { SERVER_CONTEXT, SERVER_MODEL } from "./llama-http-names.ts";

/**
 * A server as another company would write it: a separate process that speaks the OpenAI API and uses node-llama-cpp's own
 * sessions. It shares only the model file with the agent. It refuses by name what it does not support. A forked server
 * sends its port to its parent and exits with it.
 */
export interface ServerStarted {
  readonly port: number;
}

const key = process.env.SERVER_KEY ?? "";
/** The server dies after it has sent its first piece of text. */
const diesAtFirstText = process.env.SERVER_DIES === "1";
const llama = await getLlama({ build: "never", gpu: false, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: EMBEDDED_MODEL.path });
const context = await model.createContext({ sequences: 4, contextSize: SERVER_CONTEXT, threads: 1 });
const embedding = await model.createEmbeddingContext({ contextSize: SERVER_CONTEXT, threads: 1 });
let active = 0;

const server = createServer((request, response) => {
  handle(request, response).catch((error: unknown) => {
    if (response.headersSent) response.destroy();
    else refuse(response, 500, { message: String(error), type: "server_error" });
  });
});
server.listen(0, "127.0.0.1", () => {
  const started: ServerStarted = { port: (server.address() as AddressInfo).port };
  process.send?.(started);
});
process.on("disconnect", () => process.exit(0));

async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (key !== "" && request.headers.authorization !== `Bearer ${key}`) {
    const message = `Incorrect API key provided: ${request.headers.authorization?.slice(7) ?? ""}`;
    return refuse(response, 401, { message, type: "invalid_request_error", code: "invalid_api_key" });
  }
  if (request.url === "/v1/models") {
    const meta = { n_ctx: SERVER_CONTEXT };
    return json(response, 200, { object: "list", data: [{ id: SERVER_MODEL, object: "model", meta }] });
  }
  if (request.url === "/slots") return json(response, 200, { active });
  const body = JSON.parse(Buffer.concat(await Array.fromAsync(request)).toString());
  if (body.model !== SERVER_MODEL) {
    const message = `The model \`${body.model}\` does not exist`;
    return refuse(response, 404, { message, type: "invalid_request_error", code: "model_not_found" });
  }
  if (body.temperature > 1.9) {
    return refuse(response, 400, { message: "temperature is too high for this model", param: "temperature" });
  }
  if (body.logprobs) {
    return refuse(response, 400, { message: "logprobs is not supported", param: "logprobs" });
  }
  if (body.tools !== undefined && body.tool_choice === undefined) {
    return refuse(response, 400, { message: "tools is supported only with tool_choice", param: "tools" });
  }
  if (request.url === "/v1/embeddings") {
    const data = [];
    for (const [index, input] of body.input.entries()) {
      data.push({ index, object: "embedding", embedding: (await embedding.getEmbeddingFor(input)).vector });
    }
    const prompt_tokens = body.input.reduce((sum: number, input: string) => sum + model.tokenize(input).length, 0);
    return json(response, 200, { object: "list", data, usage: { prompt_tokens, total_tokens: prompt_tokens } });
  }
  const prompt = body.prompt ?? body.messages.map(({ content }: { content: string }) => content).join("\n");
  const promptTokens = model.tokenize(prompt).length;
  if (promptTokens > SERVER_CONTEXT - 32) {
    const message = `This model's maximum context length is ${SERVER_CONTEXT} tokens.`;
    return refuse(response, 400, { message, type: "invalid_request_error", code: "context_length_exceeded" });
  }
  const chat = request.url === "/v1/chat/completions";
  const left = new AbortController();
  response.on("close", () => left.abort());
  const sequence = context.getSequence();
  active++;
  try {
    if (body.stream === true) {
      response.writeHead(200, { "content-type": "text/event-stream" });
      const event = (value: object) =>
        response.write(`data: ${JSON.stringify({ id: "one", model: body.model, ...value })}\n\n`);
      const tool = requiredTool(body);
      let calls = 0;
      const choice = (text: string) => {
        if (tool === undefined) return chat ? { delta: { content: text } } : { text };
        const head = calls++ === 0 ? { id: "call_1", type: "function" } : {};
        const called = { ...(calls === 1 && { name: tool.name }), arguments: text };
        return { delta: { tool_calls: [{ index: 0, ...head, function: called }] } };
      };
      if (chat) event({ choices: [{ index: 0, delta: { role: "assistant", content: "" }, finish_reason: null }] });
      const done = await generate(sequence, body, chat, left.signal, (text) => {
        event({ choices: [{ index: 0, ...choice(text), finish_reason: null }] });
        if (diesAtFirstText) response.write("", () => process.kill(process.pid, "SIGKILL"));
      });
      const finish_reason = tool !== undefined && done.finishReason === "stop" ? "tool_calls" : done.finishReason;
      event({ choices: [{ index: 0, ...(chat ? { delta: {} } : { text: "" }), finish_reason }] });
      if (body.stream_options?.include_usage === true) event({ choices: [], usage: done.usage });
      response.end("data: [DONE]\n\n");
    } else {
      const { text, finishReason, usage } = await generate(sequence, body, chat, left.signal, () => {});
      const answer = chat ? { message: { role: "assistant", content: text } } : { text };
      json(response, 200, { id: "one", choices: [{ index: 0, ...answer, finish_reason: finishReason }], usage });
    }
  } finally {
    sequence.dispose();
    active--;
  }
}

/** The only schemas that this server enforces. */
interface BooleansSchema {
  readonly type: "object";
  readonly properties: Record<string, { readonly type: "boolean" }>;
}

interface ToolRequest {
  readonly tools?: { readonly function: { readonly name: string; readonly parameters: BooleansSchema } }[];
  readonly tool_choice?: "required" | { readonly function: { readonly name: string } };
}

/** The tool that the model must call: its arguments are the answer, under the grammar of its schema. */
function requiredTool({ tools = [], tool_choice: choice }: ToolRequest) {
  const wanted = typeof choice === "object" ? choice.function.name : tools[0]?.function.name;
  return choice === undefined ? undefined : tools.find((tool) => tool.function.name === wanted)?.function;
}

interface Generated {
  readonly text: string;
  readonly finishReason: "stop" | "length";
  readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number };
}

async function generate(
  sequence: LlamaContextSequence,
  body: {
    messages: { role: string; content: string }[];
    prompt: string;
    max_tokens?: number;
    temperature?: number;
    top_p?: number;
    seed?: number;
    stop?: string[];
    response_format?: { type: string; json_schema?: { schema: BooleansSchema } };
  } & ToolRequest,
  chat: boolean,
  signal: AbortSignal,
  onTextChunk: (text: string) => void,
): Promise<Generated> {
  const options = {
    temperature: body.temperature ?? 1,
    ...(body.max_tokens === undefined ? {} : { maxTokens: body.max_tokens }),
    ...(body.top_p === undefined ? {} : { topP: body.top_p }),
    ...(body.seed === undefined ? {} : { seed: body.seed }),
    ...(body.stop === undefined ? {} : { customStopTriggers: body.stop }),
    signal,
    stopOnAbortSignal: true,
    onTextChunk,
  };
  let result: { readonly stopReason: string; readonly text: string };
  const schema = requiredTool(body)?.parameters ?? body.response_format?.json_schema?.schema;
  if (chat) {
    const grammar = schema === undefined ? {} : { grammar: await llama.createGrammarForJsonSchema(schema) };
    const session = new LlamaChatSession({ contextSequence: sequence, systemPrompt: "" });
    session.setChatHistory(body.messages.slice(0, -1).map(historyItem));
    const { stopReason, responseText } = await session.promptWithMeta(body.messages.at(-1)?.content ?? "", {
      ...options,
      ...grammar,
    });
    result = { stopReason, text: responseText };
  } else {
    const completion = new LlamaCompletion({ contextSequence: sequence });
    const { metadata, response } = await completion.generateCompletionWithMeta(body.prompt, options);
    result = { stopReason: metadata.stopReason, text: response };
  }
  const { usedInputTokens, usedOutputTokens } = sequence.tokenMeter;
  return {
    text: result.text,
    finishReason: result.stopReason === "maxTokens" ? "length" : "stop",
    usage: { prompt_tokens: usedInputTokens, completion_tokens: usedOutputTokens },
  };
}

function historyItem({ role, content }: { role: string; content: string }): ChatHistoryItem {
  if (role === "assistant") return { type: "model", response: [content] };
  return role === "system" ? { type: "system", text: content } : { type: "user", text: content };
}

function refuse(response: ServerResponse, status: number, error: object): void {
  json(response, status, { error });
}

function json(response: ServerResponse, status: number, value: object): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}
