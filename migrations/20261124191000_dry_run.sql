-- Jobs that observe and decide only.

ALTER TABLE jobs ADD COLUMN dry_run boolean NOT NULL DEFAULT false;
