-- Jobs, their tasks, and who leads.

-- One row: who leads. Epoch is the primary key, so that a takeover (which changes it) waits for every transaction that
-- holds the row FOR KEY SHARE, while a renewal (which does not) passes.
CREATE TABLE leadership (
    epoch     integer PRIMARY KEY,
    singleton boolean NOT NULL DEFAULT true UNIQUE CHECK (singleton),
    holder    uuid,
    renewal   bigint  NOT NULL DEFAULT 0,
    released  boolean NOT NULL DEFAULT true
);
INSERT INTO leadership (epoch) VALUES (0);

-- Workers that may hold a lease: written before the first one, so that a new leader knows whom to wait for.
CREATE TABLE workers (
    id    uuid PRIMARY KEY,
    name  text NOT NULL,
    epoch integer NOT NULL
);

CREATE TABLE jobs (
    id                 uuid PRIMARY KEY,
    tenant             text NOT NULL,
    created_by         text NOT NULL,
    operation          text NOT NULL CHECK (operation IN
        ('enablekey', 'disablekey', 'schedulekeydeletion', 'cancelkeydeletion', 'applypolicytemplate')),
    days               integer,             -- as given
    policy_template_id text,                -- as given
    policy             text,                -- the template's text when the job was made
    force              boolean NOT NULL,
    state              text NOT NULL CHECK (state IN ('running', 'stopping', 'finished')),
    abort              boolean NOT NULL DEFAULT false,
    canceled_by        text,
    result             text CHECK (result IN ('completed', 'error', 'canceled')),
    total              integer NOT NULL,
    succeeded          integer NOT NULL DEFAULT 0,
    failed             integer NOT NULL DEFAULT 0,
    -- From the commit of the abort on, this counts the tasks at or past the cursors, whose rows stay 'pending'.
    canceled           integer NOT NULL DEFAULT 0,
    already            integer NOT NULL DEFAULT 0,
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    completed_at       timestamptz,
    CHECK ((state = 'finished') = (result IS NOT NULL)),
    CHECK ((state = 'finished') = (completed_at IS NOT NULL)),
    CHECK (succeeded + failed + canceled <= total),
    CHECK (state <> 'finished' OR succeeded + failed + canceled = total)
);
-- The list, newest first; ids are UUIDv7, so they break ties in order.
CREATE INDEX jobs_by_tenant ON jobs (tenant, created_at DESC, id DESC);
-- What a new leader takes up.
CREATE INDEX jobs_unfinished ON jobs (id) WHERE state <> 'finished';
-- What retention removes, and what was written of late.
CREATE INDEX jobs_by_update ON jobs (updated_at);

-- Where a job's tasks go: one row per account and Region. Number 0 is its first lane, which most jobs have alone; only the
-- tasks of later lanes are indexed by lane.
CREATE TABLE job_lanes (
    job_id       uuid     NOT NULL,
    lane         smallint NOT NULL CHECK (lane >= 0),
    account      text     NOT NULL,
    region       text     NOT NULL,
    -- The cursor: a task of this lane with this seq or a later one was certainly never published.
    next_seq     integer  NOT NULL DEFAULT 0,
    -- No task of this lane below this seq is unfinished.
    low_seq      integer  NOT NULL DEFAULT 0,
    undispatched integer  NOT NULL,
    PRIMARY KEY (job_id, lane)
);

CREATE TABLE tasks (
    job_id       uuid     NOT NULL,
    seq          integer  NOT NULL,
    -- -1: names no key of any container; such a task is stored failed.
    lane         smallint NOT NULL,
    key          text     NOT NULL,          -- as the caller wrote it
    state        text     NOT NULL CHECK (state IN ('pending', 'succeeded', 'failed', 'canceled')),
    detail       text,
    attempts     integer  NOT NULL DEFAULT 0,
    already      boolean  NOT NULL DEFAULT false,
    wrote        boolean  NOT NULL DEFAULT false, -- a mutating request was, or may have been, sent
    state_before text,
    started_at   timestamptz,
    finished_at  timestamptz,
    PRIMARY KEY (job_id, seq)
) WITH (fillfactor = 80); -- room for the one update a row gets to stay on its page
CREATE INDEX tasks_by_lane ON tasks (job_id, lane, seq) WHERE lane > 0;

CREATE TABLE idempotency_keys (
    tenant      text  NOT NULL,
    created_by  text  NOT NULL,
    key         text  NOT NULL,
    body_digest bytea NOT NULL,
    job_id      uuid  NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, created_by, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE policy_templates (
    id         uuid PRIMARY KEY,
    tenant     text NOT NULL,
    name       text NOT NULL,
    policy     text NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    UNIQUE (tenant, name)
);
