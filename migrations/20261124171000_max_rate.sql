-- Jobs that are to run slower than the quotas allow.

-- Tasks per second over the whole job; NULL for the lanes' own pace.
ALTER TABLE jobs ADD COLUMN max_rate double precision CHECK (max_rate > 0);
