/** The migrations that D1 has, by name, oldest first: what wrangler and the one-machine runner note there. */
export async function appliedMigrations(d1: D1Database): Promise<string[]> {
  const { results } = await d1.prepare("SELECT name FROM d1_migrations ORDER BY id").all<{ name: string }>();
  return results.map(({ name }) => name);
}
