import { build, stop } from "esbuild";

/** The pool's Worker as one module, bundled as `wrangler deploy` would. */
export async function bundlePool(entry: string, define: Record<string, string>): Promise<string> {
  const result = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker", "browser"],
    external: ["cloudflare:*", "node:*"],
    define: { "process.env.NODE_ENV": '"production"', ...define },
    keepNames: true,
    logLevel: "silent",
  });
  // Else its process stays as long as the pool's.
  await stop();
  const [output] = result.outputFiles;
  if (output === undefined) throw new Error("esbuild gave no output");
  return output.text;
}
