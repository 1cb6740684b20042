CREATE TABLE `peers` (
	`id` text PRIMARY KEY NOT NULL,
	`public_key` text NOT NULL,
	`name` text NOT NULL,
	`url` text NOT NULL,
	`capabilities` text NOT NULL,
	`auth_tier` text NOT NULL,
	`granted` integer NOT NULL,
	`received` integer NOT NULL,
	`effective` integer NOT NULL,
	`awaits_admin` integer,
	`added_by_admin` integer NOT NULL,
	`decided_by` text,
	`signature_version` integer NOT NULL,
	`circuit` text NOT NULL,
	`added_at_ms` integer NOT NULL,
	`seen_at_ms` integer,
	`revoked_at_ms` integer,
	`removed_at_ms` integer
);
--> statement-breakpoint
CREATE INDEX `peers_effective` ON `peers` (`effective`);