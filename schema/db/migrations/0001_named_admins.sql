CREATE TABLE `admin_tokens` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`secret_sha256` text NOT NULL,
	`created_by` text NOT NULL,
	`created_at_ms` integer NOT NULL,
	`revoked_by` text,
	`revoked_at_ms` integer
);
--> statement-breakpoint
CREATE INDEX `admin_tokens_created` ON `admin_tokens` (`created_at_ms`);