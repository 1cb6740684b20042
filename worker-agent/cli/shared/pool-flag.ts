import { text, type Values } from "./command.ts";
import { FlagError } from "./usage-error.ts";

/** Scheme, host, port and path without a trailing slash; undefined if the text is not an HTTP URL. */
export function normalUrl(given: string): string | undefined {
  if (!URL.canParse(given)) return undefined;
  const url = new URL(given);
  if (!["http:", "https:"].includes(url.protocol) || url.username !== "" || url.password !== "") return undefined;
  return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
}

/** The URL of `--pool`; undefined when the flag was not given. */
export function poolFlag(values: Values): string | undefined {
  const given = text(values, "pool");
  const url = given === undefined ? undefined : normalUrl(given);
  if (given !== undefined && url === undefined) {
    throw new FlagError(
      "pool",
      `must be the URL of a pool, such as https://pool.example; "${given}" is not the URL of a pool.`,
    );
  }
  return url;
}
