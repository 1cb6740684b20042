import { describe, expect, it } from "vitest";
import { isAllowedWebhookUrl } from "../../../edge/webhook/webhook-url-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { normalisedWebhookUrl } from "../../../schema/wire/webhook.ts";

const allowed = (text: string, allowPrivate = false) => {
  const url = normalisedWebhookUrl(text);
  if (url === null) throw new Error(`${text} is not a webhook's URL`);
  return isAllowedWebhookUrl(url, allowPrivate);
};

describe("a URL", () => {
  it.each([
    ["https://hooks.example/a?token=b", "https://hooks.example/a?token=b"],
    ["HTTPS://Hooks.Example:443", "https://hooks.example/"],
    ["http://0x7f.1/hook", "http://127.0.0.1/hook"],
  ])("%s is kept as %s", (text, url) => expect(normalisedWebhookUrl(text)).toBe(url));

  it.each([
    "hooks.example",
    "ftp://hooks.example/",
    "https://",
    "https://user@hooks.example/",
    "https://user:secret@hooks.example/",
    "https://hooks.example/#part",
    "https://hooks.example/#",
    `https://hooks.example/${"a".repeat(LIMITS.webhookUrlChars)}`,
    // It grows beyond the limit when it is percent-encoded.
    `https://hooks.example/${"é".repeat(LIMITS.webhookUrlChars / 2)}`,
  ])("%s is refused", (text) => expect(normalisedWebhookUrl(text)).toBeNull());
});

describe("while private webhooks are not allowed", () => {
  it.each([
    "https://hooks.example/",
    "https://8.8.8.8/",
    "https://100.63.0.1/",
    "https://172.32.0.1/",
    "https://192.169.0.1/",
    "https://[2606:4700::1111]/",
    "https://localhost.example/",
  ])("%s is allowed", (url) => expect(allowed(url)).toBe(true));

  it.each([
    "http://hooks.example/",
    "http://8.8.8.8/",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://a.localhost/",
    "https://127.0.0.1:8443/",
    "https://127.1/",
    "https://2130706433/",
    "https://0177.0.0.1/",
    "https://１２７.0.0.1/",
    "https://0.0.0.0/",
    "https://10.1.2.3/",
    "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.1.1/",
    "https://198.18.0.1/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://[::]/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[fd00::1]/",
    "https://[fe80::1]/",
  ])("%s is refused, and allowed by the switch", (url) => {
    expect(allowed(url)).toBe(false);
    expect(allowed(url, true)).toBe(true);
  });
});
