/** The Prometheus text exposition format 0.0.4: one family of samples. */

export type Sample = [suffix: string, labels: Record<string, string>, value: number];

/** The text of one family: its help, its type and its samples. */
export function family(name: string, type: "gauge" | "counter" | "histogram", help: string, samples: Sample[]): string {
  const lines = samples.map(([suffix, labels, value]) => {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
    return `${name}${suffix}${pairs.length > 0 ? `{${pairs.join(",")}}` : ""} ${value}\n`;
  });
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join("")}`;
}

function escapeLabel(text: string): string {
  return text.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n");
}
