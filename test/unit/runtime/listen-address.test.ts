import { connect } from "node:net";
import { expect, it } from "vitest";
import { allowedHosts, freePort, isLoopback, localUrl } from "../../../scripts/runtime/listen-address.ts";

it.each<[host: string, want: boolean]>([
  ["127.0.0.1", true],
  ["127.9.9.9", true],
  ["::1", true],
  ["localhost", true],
  ["0.0.0.0", false],
  ["::", false],
  ["192.168.1.2", false],
  ["128.0.0.1", false],
  ["127.0.0.1.example", false],
  ["localhost.example", false],
  ["", false],
])("%s is loopback: %s", (host, want) => expect(isLoopback(host)).toBe(want));

it.each<[host: string, url: string]>([
  ["127.0.0.1", "http://127.0.0.1:1"],
  ["0.0.0.0", "http://127.0.0.1:1"],
  ["::", "http://[::1]:1"],
  ["::1", "http://[::1]:1"],
  ["pool.lan", "http://pool.lan:1"],
])("a pool on %s is reached at %s", (host, url) => expect(localUrl(host, 1)).toBe(url));

it.each<[host: string, more: string[], want: string]>([
  ["127.0.0.1", [], "127.0.0.1,localhost,[::1]"],
  ["0.0.0.0", ["pool.lan"], "127.0.0.1,localhost,[::1],pool.lan"],
  ["192.168.1.2", [], "127.0.0.1,localhost,[::1],192.168.1.2"],
  ["fe80::1", ["[fe80::2]", "localhost"], "127.0.0.1,localhost,[::1],[fe80::1],[fe80::2]"],
])("a pool on %s with %j accepts the hosts %s", (host, more, want) => expect(allowedHosts(host, more)).toBe(want));

it("a free port is one without a listener", async () => {
  const port = await freePort("127.0.0.1");
  const refused = await new Promise((resolve) => {
    connect(port, "127.0.0.1").once("error", resolve).once("connect", resolve);
  });
  expect(refused).toMatchObject({ code: "ECONNREFUSED" });
});

it("an address of another machine gives an error that says so", async () => {
  await expect(freePort("192.0.2.1")).rejects.toThrow("Cannot listen on 192.0.2.1");
});
