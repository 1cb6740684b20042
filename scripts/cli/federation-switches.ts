import * as z from "zod";
import { type FederationPolicy, federationPolicy } from "../../schema/wire/federation.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { table } from "../../worker-agent/cli/shared/table.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";

/** The switches of `federation set`. Federation itself has its own commands, on and off. */
type Switch = Exclude<keyof FederationPolicy, "federation">;

const SHAPES: Readonly<Record<Switch, z.ZodType>> = federationPolicy.omit({ federation: true }).shape;
const MEANING: Readonly<Record<Switch, string>> = {
  accept_reads: "peers at trust 2 or higher may read events and the list of peers",
  accept_writes: "peers may request changes, which an admin approves; needs a registered admin key",
  accept_settlement: "peers may request what changes an economic table; nothing does so in this version",
  legacy_signatures: "version 1 requests of the existing network: none, only reads, or also pushes",
  allow_private_peers: "allow peers over plain HTTP, on loopback and at private addresses",
  allow_plain_http: "allow peers over plain HTTP at public addresses",
  allow_private_webhook: "allow a webhook over plain HTTP, on loopback and at private addresses",
  min_auth_tier:
    "the lowest tier of a peer; peers can prove only device-bound yet, so a higher value refuses every peer",
  require_mutual: "an admin must answer when a peer grants this pool trust 2 or 3",
  auto_accept_known: "a removed peer that registers again gets back its last trust",
  max_peers: "the number of peers with trust 2 or higher; 0 means no limit",
  peer_requests_per_minute: "signed requests per peer, without event sync",
  peer_pending_requests: "requests of a peer's admin that may wait for a decision",
  peer_event_requests_per_second: "event sync requests per peer",
  peer_events_per_minute: "events per peer that the log accepts, pushed or pulled",
  origin_quota_mib: "MiB of the log for the events of one other pool; 0 means no limit",
  peer_work_ms_per_second: "CPU time for the event sync of one peer; 1000 is one core",
};
const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ["on", true],
  ["off", false],
  ["true", true],
  ["false", false],
]);

/** Parses `NAME=VALUE …`. */
export function switchesFrom(given: readonly string[], hints: Hints): Partial<FederationPolicy> {
  return Object.fromEntries(given.map((each) => switchFrom(each, hints)));
}

function switchFrom(given: string, hints: Hints): [name: string, value: unknown] {
  const [, name = given, text] = /^([^=]*)=(.*)$/s.exec(given) ?? [];
  if (name === "federation") {
    const commands = ["on", "off"].map((to) => hints.ligand(`federation ${to}`));
    throw new UsageError(`To turn federation on or off: ${commands.join(", or ")}`);
  }
  if (!isSwitch(name)) throw new UsageError(`There is no switch "${name}". The switches are: ${SWITCHES.join(", ")}.`);
  const value = text === undefined ? undefined : SHAPES[name].safeParse(read(SHAPES[name], text));
  if (!value?.success) throw new UsageError(`${name} must be ${values(name)}, as in ${name}=${example(name)}.`);
  return [name, value.data];
}

function read(shape: z.ZodType, text: string): unknown {
  if (shape instanceof z.ZodBoolean) return BOOLEANS.get(text);
  if (shape instanceof z.ZodNumber) return /^\d+$/.test(text) ? Number(text) : undefined;
  return text;
}

function values(name: Switch): string {
  const shape = SHAPES[name];
  if (shape instanceof z.ZodNumber) return `${shape.safeParse(0).success ? 0 : 1} to ${shape.maxValue}`;
  return shape instanceof z.ZodEnum ? orList(shape.options) : "on or off";
}

function orList(options: readonly (string | number)[]): string {
  return [options.slice(0, -1).join(", "), options.at(-1)].join(" or ");
}

function example(name: Switch): string {
  return values(name).split(/, | to | or /)[0] ?? "";
}

/** The switches with their values, as a table. */
export function switchesTable(policy: FederationPolicy): string {
  const rows = SWITCHES.map((name) => [name, shown(policy[name]), MEANING[name]]);
  return table(["SWITCH", "VALUE", "MEANING"], rows, "");
}

function shown(value: string | number | boolean): string {
  if (typeof value === "boolean") return value ? "on" : "off";
  return String(value);
}

function isSwitch(name: string): name is Switch {
  return Object.hasOwn(SHAPES, name);
}

const SWITCHES = Object.keys(SHAPES).filter(isSwitch);

/** Whether federation is on, as a sentence with the next step. */
export function formatSwitch({ federation }: FederationPolicy, hints: Hints): string {
  if (federation === "on") return "Federation is on.";
  return `Federation is off: this pool does not answer other pools and does not call them. To turn it on: ${hints.ligand("federation on")}`;
}

/** One line for each switch. */
export const SWITCHES_HELP = SWITCHES.map((name) => `${name.padEnd(31)} ${values(name)}: ${MEANING[name]}`);
