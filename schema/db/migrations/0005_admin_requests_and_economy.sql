CREATE TABLE `worker_bans` (
	`worker_id` text PRIMARY KEY NOT NULL,
	`banned_by` text NOT NULL,
	`banned_at_ms` integer NOT NULL,
	`note` text,
	`note_salt` text,
	`pardoned_by` text,
	`pardoned_at_ms` integer
);
--> statement-breakpoint
CREATE TABLE `admin_requests` (
	`id` text PRIMARY KEY NOT NULL,
	`direction` text NOT NULL,
	`peer` text NOT NULL,
	`request_id` text NOT NULL,
	`action` text NOT NULL,
	`params` text NOT NULL,
	`status` text NOT NULL,
	`created_at_ms` integer NOT NULL,
	`expires_at_ms` integer NOT NULL,
	`decided_at_ms` integer,
	`admin` text,
	`error` text,
	`email` text,
	`email_salt` text,
	`note` text,
	`note_salt` text
);
--> statement-breakpoint
CREATE INDEX `admin_requests_created` ON `admin_requests` (`created_at_ms`);--> statement-breakpoint
CREATE INDEX `admin_requests_status` ON `admin_requests` (`status`,`created_at_ms`);--> statement-breakpoint
CREATE TABLE `revenue_ledger` (
	`id` text PRIMARY KEY NOT NULL,
	`account` text NOT NULL,
	`amount_micro` integer NOT NULL,
	`reference` text NOT NULL,
	`entered_at_ms` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `settlements` (
	`id` text PRIMARY KEY NOT NULL,
	`party` text NOT NULL,
	`amount_micro` integer NOT NULL,
	`reference` text NOT NULL,
	`entered_at_ms` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `slashing_events` (
	`id` text PRIMARY KEY NOT NULL,
	`slashing_id` text NOT NULL,
	`version` integer NOT NULL,
	`status` text NOT NULL,
	`worker` text,
	`amount_micro` integer,
	`reason` text NOT NULL,
	`entered_by` text NOT NULL,
	`entered_at_ms` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `slashing_events_of` ON `slashing_events` (`slashing_id`,`version`);--> statement-breakpoint
CREATE TABLE `worker_shares` (
	`id` text PRIMARY KEY NOT NULL,
	`worker` text NOT NULL,
	`amount_micro` integer NOT NULL,
	`reference` text NOT NULL,
	`entered_at_ms` integer NOT NULL
);
