-- A scheduler's statements have 2 s; the index over very many jobs may take longer.
SET LOCAL statement_timeout = '10min';
-- The list tells how many jobs match: by this index alone, which holds a tenant's jobs in a few pages.
CREATE INDEX jobs_counted ON jobs (tenant, result);
-- Only what a vacuum has passed is counted by the index alone, and a job is updated some times in its life: so one is due after
-- 2 % of the jobs, and not, as by default, after 20 %.
ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
