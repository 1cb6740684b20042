// Run before what needs a current Node, so it is plain JavaScript that an old one understands.
// Node runs .ts files without a flag since 22.18 and, in the line that came before it, 23.6.
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);

if (major < 22 || (major === 22 && minor < 18) || (major === 23 && minor < 6)) {
  console.error(
    [
      `This is Node ${process.versions.node}; Ligand needs 22.18 or later, or 23.6 or later.`,
      "npm ci brings a current one along (the development dependency `node`), unless install scripts were skipped.",
      "Run: npm rebuild node     or: npm ci --ignore-scripts=false     then try again through npm: npm run ligand -- …",
    ].join("\n"),
  );
  process.exit(1);
}
