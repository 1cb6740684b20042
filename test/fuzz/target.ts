import type { Http } from "./http.ts";

export const PARTS = ["client", "agent", "peer", "admin"] as const;
export type Part = (typeof PARTS)[number];

export interface Finding {
  part: Part | "pool";
  what: string;
  /** The beginning of the input. */
  sent: string;
}

/** The target that all fuzzers share. */
export interface Target {
  url: string;
  http: Http;
  key: string;
  adminToken: string;
  /** A peer for the fuzzed admin requests. */
  peerId: string;
  invite(): Promise<string>;
  timeoutMs: number;
  count(outcome: string): void;
  find(finding: Finding): void;
  /** A bystander's request, whose answer must always be right. */
  bystander(): Promise<void>;
}

export const CONNECTIONS = 16;
