CREATE TABLE `checkpoints` (
	`id` text PRIMARY KEY NOT NULL,
	`origin` text NOT NULL,
	`log_id` text NOT NULL,
	`audience` text NOT NULL,
	`seq` integer NOT NULL,
	`chain` text NOT NULL,
	`hlc_physical_us` integer NOT NULL,
	`hlc_logical` integer NOT NULL,
	`pubkey` text NOT NULL,
	`signature` text NOT NULL,
	`taken_at_ms` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `checkpoints_place` ON `checkpoints` (`origin`,`log_id`,`audience`,`seq`);--> statement-breakpoint
CREATE TABLE `events` (
	`seq` integer PRIMARY KEY NOT NULL,
	`content_id` text NOT NULL,
	`type` text NOT NULL,
	`origin` text NOT NULL,
	`visibility` text NOT NULL,
	`public_seq` integer,
	`peers_seq` integer,
	`chain` text NOT NULL,
	`hlc_physical_us` integer NOT NULL,
	`hlc_logical` integer NOT NULL,
	`bytes` text NOT NULL,
	`pubkey` text NOT NULL,
	`signature` text NOT NULL,
	`ttl` integer NOT NULL,
	`received_from` text,
	`taken_at_ms` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `events_content_id_unique` ON `events` (`content_id`);--> statement-breakpoint
CREATE UNIQUE INDEX `events_public_seq_unique` ON `events` (`public_seq`);--> statement-breakpoint
CREATE UNIQUE INDEX `events_peers_seq_unique` ON `events` (`peers_seq`);