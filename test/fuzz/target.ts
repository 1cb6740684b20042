import type { Http } from "./http.ts";

export const PARTS = ["client", "agent", "peer", "admin"] as const;
export type Part = (typeof PARTS)[number];

export interface Finding {
  part: Part | "pool";
  what: string;
  /** What was sent, its beginning. */
  sent: string;
}

/** What the fuzzers share. */
export interface Target {
  url: string;
  http: Http;
  key: string;
  adminToken: string;
  /** A peer that admins may do with as they like. */
  peerId: string;
  invite(): Promise<string>;
  timeoutMs: number;
  count(outcome: string): void;
  find(finding: Finding): void;
  /** Somebody else's request, whose answer must be right whatever goes on. */
  bystander(): Promise<void>;
}

export const CONNECTIONS = 16;
