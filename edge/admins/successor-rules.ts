/**
 * Which admin token replaced which. A rotation gives both rows one time, one name and one admin: the old token's end is the
 * new one's beginning. So rows of exports and of earlier builds tell it too. Pure.
 */
import type { AdminTokenRow } from "../../schema/db/admin-tokens.ts";

/** The token and all that were rotated out of it, one after another. */
export function withSuccessors(first: AdminTokenRow, rows: readonly AdminTokenRow[]): AdminTokenRow[] {
  const byBeginning = Map.groupBy(rows, (row) => link(row.name, row.createdBy, row.createdAtMs));
  const chain = new Set([first]);
  // A set may grow while it is walked, and no token comes into it twice.
  for (const { name, revokedBy, revokedAtMs } of chain) {
    if (revokedBy === null || revokedAtMs === null) continue;
    for (const next of byBeginning.get(link(name, revokedBy, revokedAtMs)) ?? []) chain.add(next);
  }
  return [...chain];
}

/**
 * The time of a change to a token of this name: later than any before it, so that a token made after a revocation is
 * never taken for a replacement, whatever the wall clock does.
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
