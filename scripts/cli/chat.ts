import { LIMITS } from "../../schema/wire/limits.ts";
import { type Command, EXIT, flag, text } from "../../worker-agent/cli/shared/command.ts";
import { decimal, integer } from "../../worker-agent/cli/shared/number-flags.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { flagsOf } from "../../worker-agent/cli/shared/settings.ts";
import { jsonLine, manyLines } from "../../worker-agent/terminal-text.ts";
import { noAnswer } from "../runtime/pool-unreachable.ts";
import { ACCESS_HELP, ACCESS_OPTIONS, access } from "./access.ts";

/** `ligand chat`: asks one question and streams the answer. */
export const chat: Command = {
  summary: "Ask a question. The answer streams to the terminal.",
  usage: '"QUESTION" [--model auto] [--system TEXT] [--max-tokens N] [--temperature T] [--json]',
  help: [
    "--model NAME       the model that answers (default: auto)",
    "--system TEXT      instructions before the question",
    "--max-tokens N     the longest answer, in tokens",
    "--temperature T    0 to 2; 0 always picks the most likely token",
    ...ACCESS_HELP,
    "                   for a pool on another machine, set LIGAND_KEY to a client key",
    "--json             print one JSON value when the answer is complete",
  ],
  options: {
    ...ACCESS_OPTIONS,
    ...flagsOf("chat"),
    json: { type: "boolean" },
  },
  positionals: { min: 1, max: 1 },
  async run(values, [question = ""]) {
    const max_tokens = integer("max-tokens", text(values, "max-tokens"), 1, 2 ** 31 - 1);
    const temperature = decimal("temperature", text(values, "temperature"), 0, 2);
    const system = text(values, "system");
    const { url, secret } = access("client", values);
    const json = flag(values, "json");
    const stop = new AbortController();
    process.once("SIGINT", () => stop.abort());

    const { default: OpenAI } = await import("openai");
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: secret, maxRetries: 0, timeout: LIMITS.jobMs });
    let answer = "";
    let model = "";
    let finish_reason: string | null = null;
    let usage = { prompt_tokens: 0, completion_tokens: 0 };
    try {
      const stream = await client.chat.completions.create(
        {
          model: text(values, "model") ?? "auto",
          messages: [
            ...(system === undefined ? [] : [{ role: "system" as const, content: system }]),
            { role: "user" as const, content: question },
          ],
          stream: true,
          stream_options: { include_usage: true },
          ...(max_tokens !== undefined && { max_tokens }),
          ...(temperature !== undefined && { temperature }),
        },
        { signal: stop.signal },
      );
      for await (const chunk of stream) {
        model = chunk.model;
        if (chunk.usage) usage = chunk.usage;
        const [choice] = chunk.choices;
        const piece = choice?.delta.content ?? "";
        answer += piece;
        finish_reason = choice?.finish_reason ?? finish_reason;
        if (!json) process.stdout.write(process.stdout.isTTY ? manyLines(piece) : piece);
      }
    } catch (error) {
      if (!json && answer !== "") process.stdout.write("\n");
      if (stop.signal.aborted) return EXIT.interrupted;
      if (error instanceof OpenAI.APIConnectionError) throw noAnswer(url, error);
      if (!(error instanceof OpenAI.APIError)) throw error;
      const message =
        error instanceof OpenAI.AuthenticationError
          ? `The pool at ${url} refuses this client key. Set LIGAND_KEY to the right one.`
          : (poolMessage(error.error) ?? error.message);
      throw new OperatorError(message, error.headers?.get("x-ligand-code") ?? undefined);
    }
    if (stop.signal.aborted) return EXIT.interrupted;
    if (json) {
      const { prompt_tokens, completion_tokens } = usage;
      console.log(jsonLine({ model, answer, finish_reason, prompt_tokens, completion_tokens }));
    } else {
      process.stdout.write("\n");
      if (finish_reason === "length") console.error("(The answer was cut at its length limit.)");
    }
    return EXIT.ok;
  },
};

/** The pool's own error message, without the HTTP status that the client library adds. */
function poolMessage(body: unknown): string | undefined {
  const message = typeof body === "object" && body !== null && "message" in body ? body.message : undefined;
  return typeof message === "string" ? message : undefined;
}
