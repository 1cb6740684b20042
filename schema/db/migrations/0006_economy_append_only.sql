-- docs/spec/federation.md#the-wallet-rule: the economic tables are append-only. INSERT OR REPLACE deletes what is in its way without
-- asking a trigger of DELETE, so that an id that exists is refused before the insert.
CREATE TRIGGER `revenue_ledger_no_update` BEFORE UPDATE ON `revenue_ledger`
BEGIN
	SELECT RAISE(ABORT, 'economic tables are append-only');
END;
--> statement-breakpoint
CREATE TRIGGER `revenue_ledger_no_delete` BEFORE DELETE ON `revenue_ledger`
BEGIN
	SELECT RAISE(ABORT, 'economic tables are append-only');
END;
--> statement-breakpoint
CREATE TRIGGER `revenue_ledger_no_reinsert` BEFORE INSERT ON `revenue_ledger`
WHEN EXISTS (SELECT 1 FROM `revenue_ledger` WHERE `id` = NEW.`id`)
BEGIN
	SELECT RAISE(ABORT, 'economic tables are append-only');
END;
--> statement-breakpoint
CREATE TRIGGER `slashing_events_no_update` BEFORE UPDATE ON `slashing_events`
BEGIN
	SELECT RAISE(ABORT, 'economic tables are append-only');
END;
--> statement-breakpoint
CREATE TRIGGER `slashing_events_no_delete` BEFORE DELETE ON `slashing_events`
BEGIN
	SELECT RAISE(ABORT, 'economic tables are append-only');
END;
--> statement-breakpoint
CREATE TRIGGER `slashing_events_no_reinsert` BEFORE INSERT ON `slashing_events`
WHEN EXISTS (SELECT 1 FROM `slashing_events` WHERE `id` = NEW.`id`)
BEGIN
	SELECT RAISE(ABORT, 'economic tables are append-only');
END;
--> statement-breakpoint
CREATE TRIGGER `worker_shares_no_update` BEFORE UPDATE ON `worker_shares`
BEGIN
	SELECT RAISE(ABORT, 'economic tables are append-only');
END;
--> statement-breakpoint
CREATE TRIGGER `worker_shares_no_delete` BEFORE DELETE ON `worker_shares`
BEGIN
	SELECT RAISE(ABORT, 'economic tables are append-only');
END;
--> statement-breakpoint
CREATE TRIGGER `worker_shares_no_reinsert` BEFORE INSERT ON `worker_shares`
WHEN EXISTS (SELECT 1 FROM `worker_shares` WHERE `id` = NEW.`id`)
BEGIN
	SELECT RAISE(ABORT, 'economic tables are append-only');
END;
--> statement-breakpoint
CREATE TRIGGER `settlements_no_update` BEFORE UPDATE ON `settlements`
BEGIN
	SELECT RAISE(ABORT, 'economic tables are append-only');
END;
--> statement-breakpoint
CREATE TRIGGER `settlements_no_delete` BEFORE DELETE ON `settlements`
BEGIN
	SELECT RAISE(ABORT, 'economic tables are append-only');
END;
--> statement-breakpoint
CREATE TRIGGER `settlements_no_reinsert` BEFORE INSERT ON `settlements`
WHEN EXISTS (SELECT 1 FROM `settlements` WHERE `id` = NEW.`id`)
BEGIN
	SELECT RAISE(ABORT, 'economic tables are append-only');
END;
