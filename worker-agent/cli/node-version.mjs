// Ends an old Node with a readable message. This is plain JavaScript that an old Node can parse. Import it before all else.
// Node runs .ts files without a flag since 22.18 and 23.6; the packages ask for the same versions.
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);

if (major < 22 || (major === 22 && minor < 18) || (major === 23 && minor < 6)) {
  const remedies = import.meta.url.includes("/node_modules/")
    ? ["Install a newer Node from https://nodejs.org, then try again."]
    : [
        "`npm ci` installs a newer one (the development dependency `node`), unless install scripts are disabled.",
        "Run: npm rebuild node     or: npm ci --ignore-scripts=false     then try again through npm: npm run ligand -- …",
      ];
  console.error(
    [`This is Node ${process.versions.node}; Ligand needs 22.18 or later, or 23.6 or later.`, ...remedies].join("\n"),
  );
  process.exit(1);
}
