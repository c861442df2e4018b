-- Registered keys, their aliases, and the jobs that synchronize them with KMS.

-- What KMS told of each key last. An account belongs to one container, so the account says which.
CREATE TABLE keys (
    id            uuid PRIMARY KEY,      -- the resource's; a key that is synchronized again keeps it
    tenant        text NOT NULL,
    account       text NOT NULL,
    region        text NOT NULL,
    key_id        text NOT NULL,
    arn           text NOT NULL,
    state         text NOT NULL,         -- KMS KeyState
    deletion_date timestamptz,
    metadata      jsonb NOT NULL,        -- what else DescribeKey said, in AWS's names
    tags          jsonb NOT NULL,        -- {"key": "value"}
    gone          boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    synced_at     timestamptz NOT NULL,
    -- When a job of ours wrote to the key last: an older reading does not undo it.
    written_at    timestamptz,
    -- The synchronization that saw it last.
    seen_by       uuid NOT NULL,
    UNIQUE (account, region, key_id, tenant)
) WITH (fillfactor = 80); -- each synchronization updates each row once, and no indexed column
CREATE INDEX keys_by_tenant ON keys (tenant, created_at DESC, id DESC);
CREATE INDEX keys_by_key_id ON keys (key_id);

CREATE TABLE key_aliases (
    tenant  text NOT NULL,
    account text NOT NULL,
    region  text NOT NULL,
    alias   text COLLATE "C" NOT NULL,   -- with "alias/"; so collated that the index also serves prefixes
    key_id  text NOT NULL,
    seen_by uuid NOT NULL,
    PRIMARY KEY (account, region, alias, tenant)
);
CREATE INDEX key_aliases_by_key ON key_aliases (account, region, key_id);

CREATE TABLE synchronizations (
    id              uuid PRIMARY KEY,
    tenant          text NOT NULL,
    created_by      text NOT NULL,
    kms             text[] NOT NULL,     -- the containers' names
    regions         text[] NOT NULL,     -- as given
    synchronize_all boolean NOT NULL,
    status          text NOT NULL CHECK (status IN ('in_progress', 'completed', 'error', 'canceled')),
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    completed_at    timestamptz,
    CHECK ((status = 'in_progress') = (completed_at IS NULL))
);
CREATE INDEX synchronizations_by_tenant ON synchronizations (tenant, created_at DESC, id DESC);
CREATE INDEX synchronizations_running ON synchronizations (id) WHERE status = 'in_progress';

-- One account and Region of a synchronization, and how far it is.
CREATE TABLE synchronization_parts (
    synchronization_id uuid     NOT NULL REFERENCES synchronizations ON DELETE CASCADE,
    part               smallint NOT NULL,
    kms                text NOT NULL,
    account            text NOT NULL,
    region             text NOT NULL,
    -- keys: pages of keys are read; aliases: pages of aliases; sweep: what was not seen is marked gone.
    step               text NOT NULL CHECK (step IN ('keys', 'aliases', 'sweep', 'done', 'failed', 'canceled')),
    marker             text NOT NULL DEFAULT '',  -- KMS's marker of the next page
    detail             text,
    keys               integer NOT NULL DEFAULT 0,
    skipped            integer NOT NULL DEFAULT 0,
    PRIMARY KEY (synchronization_id, part),
    CHECK ((step = 'failed') = (detail IS NOT NULL))
);
-- At most one at a time for an account and Region.
CREATE UNIQUE INDEX synchronization_parts_running ON synchronization_parts (account, region)
    WHERE step IN ('keys', 'aliases', 'sweep');

-- The AWS key id of a task whose caller named a registered key by its resource id.
ALTER TABLE tasks ADD COLUMN aws_key text;
-- Its keys may be registered: their cached state follows.
ALTER TABLE jobs ADD COLUMN follows boolean NOT NULL DEFAULT false;
-- What the keys were selected by, a JSON object; NULL when they were named.
ALTER TABLE jobs ADD COLUMN selector text;
