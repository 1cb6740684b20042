-- SPEC 4.1: the log is append-only. INSERT OR REPLACE deletes what is in its way without asking a trigger of DELETE, so
-- that a number or an id that exists is refused before the insert, in each of the columns that are unique.
CREATE TRIGGER `events_no_update` BEFORE UPDATE ON `events`
BEGIN
	SELECT RAISE(ABORT, 'the event log is append-only');
END;
--> statement-breakpoint
CREATE TRIGGER `events_no_delete` BEFORE DELETE ON `events`
BEGIN
	SELECT RAISE(ABORT, 'the event log is append-only');
END;
--> statement-breakpoint
CREATE TRIGGER `events_no_reinsert` BEFORE INSERT ON `events`
WHEN EXISTS (SELECT 1 FROM `events` WHERE `seq` = NEW.`seq`)
	OR EXISTS (SELECT 1 FROM `events` WHERE `content_id` = NEW.`content_id`)
	OR EXISTS (SELECT 1 FROM `events` WHERE `public_seq` = NEW.`public_seq`)
	OR EXISTS (SELECT 1 FROM `events` WHERE `peers_seq` = NEW.`peers_seq`)
BEGIN
	SELECT RAISE(ABORT, 'the event log has that event or number already');
END;
