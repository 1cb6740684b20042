/**
 * Checks that no held-out question has five consecutive words in common with the corpus: with every expansion of every
 * wording, every answer and every system message. Case is ignored.
 *
 *   node scripts/train/overlap.ts [--json]
 *
 * Training also varies the wordings at random. `data.py` rejects a variant that has five such words.
 */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const RUN_WORDS = 5;
const MIN_PAIRS = 150;
const HELD_OUT = 60;

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

function runs(text: string): string[] {
  const words = text.toLowerCase().match(/[a-z0-9]+/g) ?? [];
  return words
    .slice(0, Math.max(0, words.length - RUN_WORDS + 1))
    .map((_, i) => words.slice(i, i + RUN_WORDS).join(" "));
}

/** All sentences of a wording such as `how {do|can} I start`. */
function expand(text: string): string[] {
  const found = /\{([^{}]*)\}/.exec(text);
  if (!found) return [text];
  const [group, options = ""] = found;
  return options.split("|").flatMap((option) => expand(text.replace(group, () => option)));
}

const lines = readdirSync(here("corpus"))
  .filter((name) => name.endsWith(".txt"))
  .flatMap((name) => readFileSync(here(`corpus/${name}`), "utf8").split("\n"));
const systems = readFileSync(here("augment/systems.txt"), "utf8").split("\n");
const pairs = new Set(lines.filter((line) => line.startsWith("@ "))).size;
const wordings = lines.filter((line) => line.startsWith("- ")).flatMap((line) => expand(line.slice(2)));
const texts = [...wordings, ...lines.filter((line) => line.startsWith("> ")).map((line) => line.slice(2)), ...systems];

const known = new Map(texts.flatMap((text) => runs(text).map((run) => [run, text] as const)));
const heldOut = JSON.parse(readFileSync(here("heldout.json"), "utf8")) as { question: string }[];
const shared = heldOut.flatMap(({ question }) =>
  runs(question)
    .filter((run) => known.has(run))
    .map((run) => ({ question, run, text: known.get(run) })),
);

const ok = shared.length === 0 && pairs >= MIN_PAIRS && heldOut.length === HELD_OUT;
if (!process.argv.includes("--json")) {
  for (const s of shared) process.stdout.write(`SHARED "${s.run}"\n  held out: ${s.question}\n  corpus:   ${s.text}\n`);
}
process.stdout.write(
  `${JSON.stringify({ ok, pairs, wordings: wordings.length, heldOut: heldOut.length, shared: shared.length })}\n`,
);
process.exitCode = ok ? 0 : 1;
