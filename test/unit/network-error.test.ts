import { expect, it } from "vitest";
import { networkReason } from "../../worker-agent/network-error.ts";

const error = (message: string, code?: string, cause?: unknown) =>
  Object.assign(new Error(message, { cause }), code === undefined ? {} : { code });
const loop = error("a loop");
loop.cause = loop;

it.each<[what: string, given: unknown, want: string | RegExp]>([
  [
    "the code of the system",
    error("connect ECONNREFUSED 127.0.0.1:9", "ECONNREFUSED"),
    "nothing listens there (ECONNREFUSED)",
  ],
  [
    "the code of both addresses",
    Object.assign(new AggregateError([], ""), { code: "ECONNREFUSED" }),
    "nothing listens there (ECONNREFUSED)",
  ],
  ["an error without a message", new Error(""), "it cannot be reached"],
  [
    "a code that the HTTP client wraps",
    new TypeError("fetch failed", { cause: error("getaddrinfo", "ENOTFOUND") }),
    "no host has that name (ENOTFOUND)",
  ],
  [
    "a certificate of a private authority",
    error("Connection error.", undefined, error("fetch failed", undefined, error("x", "DEPTH_ZERO_SELF_SIGNED_CERT"))),
    /NODE_EXTRA_CA_CERTS=ca\.pem \(DEPTH_ZERO_SELF_SIGNED_CERT\)$/,
  ],
  ["an unknown code: its message", error("what a day", "EWHATEVER"), "what a day"],
  ["a code without a message", error("", "EWHATEVER"), "EWHATEVER"],
  ["causes in a circle", loop, "a loop"],
  ["a value that is not an error", "nothing", "it cannot be reached"],
])("%s", (_what, given, want) =>
  expect(networkReason(given)).toMatch(
    want instanceof RegExp ? want : new RegExp(`^${want.replace(/[()]/g, "\\$&")}$`),
  ),
);
