-- The audit trail: each call that was to change something, each login, and each refusal. Rows are added and never changed
-- or removed; who has to remove old ones does so with the owner's rights and the trigger switched off.

CREATE TABLE audit_log (
    id         uuid PRIMARY KEY,        -- made by the gateway, so that an entry sent twice is kept once
    at         timestamptz NOT NULL,
    request_id text NOT NULL,
    tenant     text,                    -- NULL as the two below when the caller was not recognized
    subject    text,
    username   text,                    -- also of a login that failed: the name that was tried
    address    text NOT NULL,           -- where the connection came from
    method     text NOT NULL,
    path       text NOT NULL,           -- without its query
    status     smallint NOT NULL        -- of the answer
);
CREATE INDEX audit_log_by_time ON audit_log (at);
CREATE INDEX audit_log_by_subject ON audit_log (subject, at);

CREATE FUNCTION audit_log_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_log_keep_rows BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION audit_log_append_only();
CREATE TRIGGER audit_log_keep_all BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_append_only();
