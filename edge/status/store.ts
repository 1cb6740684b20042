/** The names of the applied migrations, oldest first. Wrangler and the one-machine runner record them in this table. */
export async function appliedMigrations(d1: D1Database): Promise<string[]> {
  const { results } = await d1.prepare("SELECT name FROM d1_migrations ORDER BY id").all<{ name: string }>();
  return results.map(({ name }) => name);
}
