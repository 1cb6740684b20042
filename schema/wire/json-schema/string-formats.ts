import { type Pattern, readPattern } from "./string-pattern.ts";

/**
 * The expressions by which a worker generates the formats of strings. Each matches only a part of its format, so that
 * every validator accepts the result. Lengths are limited if the format limits them.
 */
const LABEL = "[a-z0-9]{1,12}(?:-[a-z0-9]{1,12}){0,2}";
const HOST = `(?:${LABEL}\\.){1,3}[a-z]{2,12}`;
/** Without 29 February, which exists only in leap years. */
const DATE = "\\d{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)";
const CLOCK = "(?:[01]\\d|2[0-3]):[0-5]\\d";
/** RFC 3339 section 5.6. */
const TIME = `${CLOCK}:[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-]${CLOCK})`;
/** RFC 3339 appendix A: no unit between two other units may be omitted. */
const DURATION_TIME = "T(?:\\d{1,4}H(?:\\d{1,4}M(?:\\d{1,4}S)?)?|\\d{1,4}M(?:\\d{1,4}S)?|\\d{1,4}S)";
const DURATION_DATE = "(?:\\d{1,4}Y(?:\\d{1,4}M(?:\\d{1,4}D)?)?|\\d{1,4}M(?:\\d{1,4}D)?|\\d{1,4}D)";
const OCTET = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]\\d|\\d)";
const HEX16 = "[0-9a-f]{1,4}";
/** RFC 3986: path, query and fragment. */
const URI_TEXT = "(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-F]{2})*";

const SOURCES = Object.freeze({
  date: DATE,
  time: TIME,
  "date-time": `${DATE}T${TIME}`,
  duration: `P(?:${DURATION_DATE}(?:${DURATION_TIME})?|${DURATION_TIME}|\\d{1,4}W)`,
  uuid: "[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
  email: `[A-Za-z0-9_+-]{1,20}(?:\\.[A-Za-z0-9_+-]{1,20}){0,2}@${HOST}`,
  hostname: HOST,
  ipv4: `(?:${OCTET}\\.){3}${OCTET}`,
  ipv6: `(?:${HEX16}:){7}${HEX16}|${HEX16}(?::${HEX16}){0,5}::${HEX16}|::${HEX16}`,
  uri: `https?://${HOST}(?::[1-9]\\d{0,3})?(?:/${URI_TEXT})?(?:\\?${URI_TEXT})?(?:#${URI_TEXT})?`,
});

export type StringFormat = keyof typeof SOURCES;
export const STRING_FORMATS = Object.keys(SOURCES) as StringFormat[];

const read = new Map<StringFormat, Pattern>();

/** Undefined for any other format. */
export function formatPattern(name: string): Pattern | undefined {
  const format = STRING_FORMATS.find((known) => known === name);
  if (format === undefined) return undefined;
  const known = read.get(format) ?? readPattern(`^(?:${SOURCES[format]})$`);
  if (known === null) throw new Error(`The expression of ${format} cannot be read.`);
  read.set(format, known);
  return known;
}

/**
 * Expressions with lookahead that zod writes beside a format: zod 4.0 to 4.3 for an email, 4.x for a hostname and a
 * duration. Everything that a worker generates for the format matches them.
 */
const IMPLIED: Readonly<Partial<Record<string, readonly string[]>>> = Object.freeze({
  email: ["^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$"],
  hostname: [
    "^(?=.{1,253}\\.?$)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\\.[a-zA-Z0-9](?:[-0-9a-zA-Z]{0,61}[0-9a-zA-Z])?)*\\.?$",
  ],
  duration: [
    "^P(?:(\\d+W)|(?!.*W)(?=\\d|T\\d)(\\d+Y)?(\\d+M)?(\\d+D)?(T(?=\\d)(\\d+H)?(\\d+M)?(\\d+([.,]\\d+)?S)?)?)$",
  ],
});

/** Whether everything that a worker generates for the format matches the expression. */
export const isImplied = (format: string, pattern: string): boolean =>
  Object.hasOwn(IMPLIED, format) && IMPLIED[format]?.includes(pattern) === true;
