import type { AgentEvent } from "../events.ts";
import { printable } from "./shared/table.ts";

export type Download = Extract<AgentEvent, { type: "downloading" }>;

const BAR_LETTERS = 24;

/** The progress of a download in one line. */
export function downloadBar({ file, bytes, totalBytes }: Download): string {
  const share = totalBytes > 0 ? Math.min(1, bytes / totalBytes) : 0;
  const full = Math.floor(share * BAR_LETTERS);
  const bar = "█".repeat(full) + "░".repeat(BAR_LETTERS - full);
  return `${bar} ${Math.floor(share * 100)} % of ${(totalBytes / 1e6).toFixed(1)} MB · ${printable(file)}`;
}

/** A filter for logs: of a download's progress events it passes one for each tenth. */
export function tenthsOfDownloads(): (event: AgentEvent) => boolean {
  let last = "";
  return (event) => {
    if (event.type !== "downloading") return true;
    const tenth = event.totalBytes > 0 ? Math.floor((10 * event.bytes) / event.totalBytes) : 0;
    const now = `${event.file} ${tenth}`;
    if (now === last) return false;
    last = now;
    return true;
  };
}
