import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, it } from "vitest";
import { Connections } from "../../../scripts/bench/load.ts";

it("the load generator does not count a refusal as an answer", async () => {
  const server = createServer((request, answer) => answer.writeHead(request.url === "/good" ? 200 : 429).end("said"));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const connections = new Connections(1);
  const at = (path: string) => {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`;
    return connections.post({ url, headers: {}, body: "{}" });
  };
  try {
    expect(await at("/good")).toMatchObject({ body: "said" });
    await expect(at("/full")).rejects.toThrow("answered 429: said");
  } finally {
    connections.close();
    server.close();
  }
});
