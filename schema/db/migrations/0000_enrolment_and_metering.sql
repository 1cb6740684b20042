CREATE TABLE `client_keys` (
	`id` text PRIMARY KEY NOT NULL,
	`label` text NOT NULL,
	`secret_sha256` text NOT NULL,
	`requests_per_minute` integer NOT NULL,
	`tokens_per_minute` integer NOT NULL,
	`streams` integer NOT NULL,
	`created_by` text NOT NULL,
	`created_at_ms` integer NOT NULL,
	`revoked_by` text,
	`revoked_at_ms` integer
);
--> statement-breakpoint
CREATE INDEX `client_keys_created` ON `client_keys` (`created_at_ms`);--> statement-breakpoint
CREATE TABLE `worker_tokens` (
	`id` text PRIMARY KEY NOT NULL,
	`label` text NOT NULL,
	`secret_sha256` text NOT NULL,
	`lane` text NOT NULL,
	`added_by` text NOT NULL,
	`approved_by` text NOT NULL,
	`created_at_ms` integer NOT NULL,
	`expires_at_ms` integer NOT NULL,
	`worker_id` text,
	`revoked_by` text,
	`revoked_at_ms` integer
);
--> statement-breakpoint
CREATE INDEX `worker_tokens_created` ON `worker_tokens` (`created_at_ms`);--> statement-breakpoint
CREATE TABLE `workers` (
	`id` text PRIMARY KEY NOT NULL,
	`public_key` text NOT NULL,
	`token_id` text NOT NULL,
	`agent_version` text NOT NULL,
	`manifest` text NOT NULL,
	`manifest_signature` text NOT NULL,
	`last_connected_at_ms` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `metering` (
	`job_id` text PRIMARY KEY NOT NULL,
	`key_id` text NOT NULL,
	`worker_id` text,
	`model` text NOT NULL,
	`kind` text NOT NULL,
	`outcome` text NOT NULL,
	`code` text,
	`prompt_tokens` integer NOT NULL,
	`completion_tokens` integer NOT NULL,
	`claimed_prompt_tokens` integer,
	`claimed_completion_tokens` integer,
	`flags` text NOT NULL,
	`attempts` integer NOT NULL,
	`queued_ms` integer NOT NULL,
	`accepted_at_ms` integer NOT NULL,
	`ended_at_ms` integer NOT NULL,
	`record` text,
	`signature` text
);
--> statement-breakpoint
CREATE INDEX `metering_key` ON `metering` (`key_id`,`ended_at_ms`);--> statement-breakpoint
CREATE INDEX `metering_worker` ON `metering` (`worker_id`,`ended_at_ms`);