import type { AgentEvent } from "../../worker-agent/events.ts";
import { printable } from "./table.ts";

export type Download = Extract<AgentEvent, { type: "downloading" }>;

const BAR_LETTERS = 24;

/** Pure: how far a download is, in one line. */
export function downloadBar({ file, bytes, totalBytes }: Download): string {
  const share = totalBytes > 0 ? Math.min(1, bytes / totalBytes) : 0;
  const full = Math.floor(share * BAR_LETTERS);
  const bar = "█".repeat(full) + "░".repeat(BAR_LETTERS - full);
  return `${bar} ${Math.floor(share * 100)} % of ${(totalBytes / 1e6).toFixed(1)} MB · ${printable(file)}`;
}

/** Lets of a download only every tenth of it through, for logs: its begin, its end, and what lies between. */
export function tenthsOfDownloads(): (event: AgentEvent) => boolean {
  let told = "";
  return (event) => {
    if (event.type !== "downloading") return true;
    const tenth = event.totalBytes > 0 ? Math.floor((10 * event.bytes) / event.totalBytes) : 0;
    const now = `${event.file} ${tenth}`;
    if (now === told) return false;
    told = now;
    return true;
  };
}
