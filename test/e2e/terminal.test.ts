import { createServer, type Server } from "node:http";
import { afterAll, beforeAll, expect, it } from "vitest";
import { run, TERMINAL } from "./support.ts";

/** `ligand chat` at a pool whose model or operator tries to control the terminal. */

const ANSWER = "\u001b]52;c;cm0gLXJm\u0007Hello\u001b[2J,\r\n\tworld\u202e!";
const SHOWN = "]52;c;cm0gLXJmHello[2J,\n\tworld!";

let server: Server;
let env: Record<string, string>;
beforeAll(async () => {
  server = createServer(async (request, response) => {
    let asked = "";
    for await (const part of request) asked += String(part);
    if (asked.includes("refuse")) {
      response.writeHead(404, { "content-type": "application/json" });
      response.end(JSON.stringify({ error: { message: `No.${ANSWER}`, type: "invalid_request_error", code: "x" } }));
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    const base = { id: "1", object: "chat.completion.chunk", created: 1, model: "m" };
    // One character in each chunk: no escape sequence arrives whole.
    for (const content of [...ANSWER]) {
      const choices = [{ index: 0, delta: { content }, finish_reason: null }];
      response.write(`data: ${JSON.stringify({ ...base, choices })}\n\n`);
    }
    response.write(
      `data: ${JSON.stringify({ ...base, choices: [{ index: 0, delta: {}, finish_reason: "stop" }] })}\n\n`,
    );
    response.end("data: [DONE]\n\n");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  env = { LIGAND_POOL: `http://127.0.0.1:${port}`, LIGAND_KEY: "lk_1" };
});
afterAll(() => server.close());

it("an answer cannot control the terminal, not even in pieces; a file gets it unchanged", async () => {
  const shown = await run([...TERMINAL, "scripts/ligand.ts", "chat", "Hello?"], env);
  expect(shown).toEqual({ code: 0, stdout: `${SHOWN}\n`, stderr: "" });
  const kept = await run(["scripts/ligand.ts", "chat", "Hello?"], env);
  expect(kept.stdout).toBe(`${ANSWER}\n`);
});

it("with --json an answer is complete and controls nothing", async () => {
  const { stdout } = await run([...TERMINAL, "scripts/ligand.ts", "chat", "Hello?", "--json"], env);
  expect(stdout.trimEnd()).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  expect(JSON.parse(stdout)).toMatchObject({ answer: ANSWER });
});

it("the text of a refusal cannot control the terminal", async () => {
  const { code, stderr } = await run([...TERMINAL, "scripts/ligand.ts", "chat", "refuse"], env);
  expect({ code, stderr }).toEqual({ code: 1, stderr: `No.${SHOWN}\n` });
});
