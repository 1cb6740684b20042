import * as z from "zod";
import { type FederationPolicy, federationPolicy } from "../../schema/wire/federation.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { table } from "../../worker-agent/cli/shared/table.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";

/** The policy's switches as they are typed and shown; federation itself has commands of its own. */
type Switch = Exclude<keyof FederationPolicy, "federation">;

const SHAPES: Readonly<Record<Switch, z.ZodType>> = federationPolicy.omit({ federation: true }).shape;
const MEANING: Readonly<Record<Switch, string>> = {
  accept_reads: "peers at trust 2 and more may read events, and whom this pool knows",
  accept_writes: "peers may ask for changes, and an admin decides; not in this version, for want of admin keys",
  legacy_signatures: "version 1 requests of the existing network: none, reads, or pushes too",
  allow_private_peers: "peers over plain http, on loopback and at private addresses",
  min_auth_tier: "until tiers can be proven, more than device-bound refuses everyone",
  require_mutual: "a peer that grants this pool 2 or 3 waits for an admin's answer",
  auto_accept_known: "a removed peer that returns has again what an admin last granted it",
  max_peers: "how many may be granted 2 and more; 0 is without limit",
  peer_requests_per_minute: "signed requests of one peer, but for those of event sync",
  peer_event_requests_per_second: "those of event sync",
  peer_events_per_minute: "events of one peer that are taken into the log, however it brings them",
  origin_quota_mib: "MiB of the log that the events of one other pool may fill; 0 is without limit",
  peer_work_ms_per_second: "CPU time that one peer may cost by event sync; 1000 is one core",
};
const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ["on", true],
  ["off", false],
  ["true", true],
  ["false", false],
]);

/** Pure: what `NAME=VALUE …` changes. */
export function switchesFrom(given: readonly string[], hints: Hints): Partial<FederationPolicy> {
  return Object.fromEntries(given.map((each) => switchFrom(each, hints)));
}

function switchFrom(given: string, hints: Hints): [name: string, value: unknown] {
  const [, name = given, text] = /^([^=]*)=(.*)$/s.exec(given) ?? [];
  if (name === "federation") {
    const say = ["on", "off"].map((to) => hints.ligand(`federation ${to}`));
    throw new UsageError(`Federation itself is switched by: ${say.join(", or ")}`);
  }
  if (!isSwitch(name)) throw new UsageError(`There is no switch "${name}". There are: ${SWITCHES.join(", ")}.`);
  const value = text === undefined ? undefined : SHAPES[name].safeParse(read(SHAPES[name], text));
  if (!value?.success) throw new UsageError(`${name} wants ${values(name)}, as in ${name}=${example(name)}.`);
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
  return shape instanceof z.ZodEnum ? shape.options.join(", ") : "on, off";
}

function example(name: Switch): string {
  return values(name).split(/, | to /)[0] ?? "";
}

/** Pure: what each switch is set to. */
export function switchesTable(policy: FederationPolicy): string {
  const rows = SWITCHES.map((name) => [name, shown(policy[name]), MEANING[name]]);
  return table(["SWITCH", "IS", "MEANS"], rows, "");
}

function shown(value: string | number | boolean): string {
  if (typeof value === "boolean") return value ? "on" : "off";
  return String(value);
}

function isSwitch(name: string): name is Switch {
  return Object.hasOwn(SHAPES, name);
}

const SWITCHES = Object.keys(SHAPES).filter(isSwitch);

/** One line a switch. */
export const SWITCHES_HELP = SWITCHES.map((name) => `${name.padEnd(31)} ${values(name)}: ${MEANING[name]}`);
