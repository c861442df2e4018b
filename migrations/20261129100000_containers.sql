-- Containers that tenants add beside the default one, and who may do what with the keys of each.

-- The default container is no row: its account and Region are settings. A row with its account takes that account over.
CREATE TABLE containers (
    id                      uuid PRIMARY KEY,
    tenant                  text NOT NULL,
    name                    text NOT NULL CHECK (name <> 'default'),
    account                 text NOT NULL UNIQUE,   -- an account belongs to one container, over all tenants
    regions                 text[] NOT NULL CHECK (cardinality(regions) > 0),
    connection              text NOT NULL,          -- an entry of the workers' configuration; '' for the standard chain
    assume_role_arn         text NOT NULL,          -- '' for none
    assume_role_external_id text NOT NULL,          -- '' for none
    archived                boolean NOT NULL DEFAULT false,
    created_by              text NOT NULL,
    created_at              timestamptz NOT NULL,
    updated_at              timestamptz NOT NULL,
    UNIQUE (tenant, name)
);

-- Without a reference to containers: the default one has rows here too.
CREATE TABLE container_acls (
    container_id uuid   NOT NULL,
    kind         text   NOT NULL CHECK (kind IN ('user', 'group')),
    who          text   NOT NULL,
    actions      text[] NOT NULL CHECK (cardinality(actions) > 0),
    PRIMARY KEY (container_id, kind, who)
);

-- The containers on which the permission is needed to see the job: those of its keys as it was created, and the default
-- one for keys that nobody knows. Jobs from before had no other than the default one.
ALTER TABLE jobs ADD COLUMN containers uuid[] NOT NULL DEFAULT '{00000000-0000-4000-8000-000000000000}';
