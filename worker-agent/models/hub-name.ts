/** A model on the hub, as `hf:OWNER/REPO[:QUANT]` or `hf:OWNER/REPO/PATH.gguf[#BRANCH]` names it. */
export interface HubName {
  readonly owner: string;
  readonly repo: string;
  readonly branch: string;
  /** The quantisation that the hub shall choose a file by, or the file itself. */
  readonly wants: { readonly quant: string } | { readonly path: string };
}

export const HUB_PREFIX = "hf:";

const WORD = /^(?!\.)[\w.-]{1,96}$/;
const QUANT = /^[\w.-]{1,64}$/;
const PATH_PART = /^(?!\.)[^/\\\p{Cc}]{1,200}$/u;

/** Pure: null for what is no such name. */
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

/** Pure: all files of a model that is split, first to last; the file itself when it is not. */
export function splitFiles(path: string): string[] {
  const [, , of] = SPLIT.exec(path) ?? [];
  if (of === undefined) return [path];
  const part = (nth: number) => path.replace(SPLIT, `-${String(nth).padStart(5, "0")}-of-${of}`);
  return Array.from({ length: Number(of) }, (_, at) => part(at + 1));
}

/** Pure: a model's name is its file's, without what says that it is a file or a part of one. */
export function nameOfFile(file: string): string {
  return file.replace(SPLIT, "").replace(/\.gguf$/i, "");
}
