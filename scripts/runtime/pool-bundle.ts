import { build, stop } from "esbuild";

/** Of this process: they share one esbuild, and whoever stops it while another builds leaves that one waiting for ever. */
let building = 0;

/** The pool's Worker as one module, bundled as `wrangler deploy` would. */
export async function bundlePool(entry: string, define: Record<string, string>): Promise<string> {
  building += 1;
  try {
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
    const [output] = result.outputFiles;
    if (output === undefined) throw new Error("esbuild gave no output");
    return output.text;
  } finally {
    building -= 1;
    // Else its process stays as long as the pool's.
    if (building === 0) await stop();
  }
}
