/**
 * Which admin token replaced which. A rotation writes the same time, name and admin into both rows: the revocation of the
 * old token and the creation of the new one. So the rows of exports and of earlier releases show it too.
 */
import type { AdminTokenRow } from "../../schema/db/admin-tokens.ts";

/** The token, and all tokens that replaced it one after another. */
export function withSuccessors(first: AdminTokenRow, rows: readonly AdminTokenRow[]): AdminTokenRow[] {
  const byBeginning = Map.groupBy(rows, (row) => link(row.name, row.createdBy, row.createdAtMs));
  const chain = new Set([first]);
  // A set may grow during iteration, and holds each token once.
  for (const { name, revokedBy, revokedAtMs } of chain) {
    if (revokedBy === null || revokedAtMs === null) continue;
    for (const next of byBeginning.get(link(name, revokedBy, revokedAtMs)) ?? []) chain.add(next);
  }
  return [...chain];
}

/**
 * The time of a change to a token of this name. It is later than all earlier times, so that a token created after a
 * revocation is never mistaken for a replacement, whatever the wall clock does.
 */
export function nextTimeOf(name: string, rows: readonly AdminTokenRow[], nowMs: number): number {
  const times = rows
    .filter((row) => row.name === name)
    .map((row) => Math.max(row.createdAtMs, row.revokedAtMs ?? 0))
    .filter((atMs) => atMs < LATEST_MS);
  return Math.max(nowMs, ...times.map((atMs) => atMs + 1));
}

/** ECMAScript's latest time: an imported row may have it. */
const LATEST_MS = 8_640_000_000_000_000;

const link = (name: string, by: string, atMs: number) => JSON.stringify([name, by, atMs]);
