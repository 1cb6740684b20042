/** A model on the hub, named `hf:OWNER/REPO[:QUANT]` or `hf:OWNER/REPO/PATH.gguf[#BRANCH]`. */
export interface HubName {
  readonly owner: string;
  readonly repo: string;
  readonly branch: string;
  /** The quantisation for which the hub chooses a file, or the file itself. */
  readonly wants: { readonly quant: string } | { readonly path: string };
}

export const HUB_PREFIX = "hf:";

const WORD = /^(?!\.)[\w.-]{1,96}$/;
const QUANT = /^[\w.-]{1,64}$/;
const PATH_PART = /^(?!\.)[^/\\\p{Cc}]{1,200}$/u;

/** Parses such a name. Null if it is not one. */
export function hubName(spec: string): HubName | null {
  if (!spec.startsWith(HUB_PREFIX)) return null;
  const [owner = "", rest = "", ...path] = spec.slice(HUB_PREFIX.length).split("/");
  if (!WORD.test(owner)) return null;
  if (path.length === 0) {
    const [repo = "", quant = "latest", ...more] = rest.split(":");
    if (!WORD.test(repo) || !QUANT.test(quant) || more.length > 0) return null;
    return { owner, repo, branch: "main", wants: { quant } };
  }
  const [file = "", branch = "main", ...more] = (path.pop() ?? "").split("#");
  const parts = [...path, file];
  if (!WORD.test(rest) || !parts.every((part) => PATH_PART.test(part)) || more.length > 0) return null;
  if (!/\.gguf$/i.test(file) || !PATH_PART.test(branch)) return null;
  return { owner, repo: rest, branch, wants: { path: parts.join("/") } };
}

const SPLIT = /-(\d{5})-of-(\d{5})(?=\.gguf$)/i;

/** All files of a split model in order, or the file itself if the model is not split. */
export function splitFiles(path: string): string[] {
  const [, , of] = SPLIT.exec(path) ?? [];
  if (of === undefined) return [path];
  const part = (nth: number) => path.replace(SPLIT, `-${String(nth).padStart(5, "0")}-of-${of}`);
  return Array.from({ length: Number(of) }, (_, at) => part(at + 1));
}

/** The model's name: the file's name without its extension and part number. */
export function nameOfFile(file: string): string {
  return file.replace(SPLIT, "").replace(/\.gguf$/i, "");
}
