-- Sessions of local users: what a refresh token is checked against, and which sessions were ended early.

-- One row per login whose session may go on.
CREATE TABLE sessions (
    id            uuid  PRIMARY KEY,
    -- SHA-256 of the refresh token: 256 random bits, so that no salt and no slow hash is needed.
    token_digest  bytea NOT NULL UNIQUE CHECK (octet_length(token_digest) = 32),
    tenant        text  NOT NULL,
    subject       text  NOT NULL,
    password_mark bytea NOT NULL,
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL
);
-- What retention removes.
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- Sessions that were ended: gateways refuse their access tokens until those have expired by themselves.
CREATE TABLE revoked_sessions (
    id         uuid PRIMARY KEY,
    revoked_at timestamptz NOT NULL
);
-- What gateways ask for, and what retention removes.
CREATE INDEX revoked_sessions_by_time ON revoked_sessions (revoked_at);
