-- Policy templates for one AWS account, made from a document or from lists, and which keys have them.

ALTER TABLE policy_templates
    ADD COLUMN account_id        text,    -- the only account it is for; NULL for any
    ADD COLUMN updated_at        timestamptz,
    -- Whom the policy was made for; all NULL when it was given as a document.
    ADD COLUMN key_admins        text[],
    ADD COLUMN key_admins_roles  text[],
    ADD COLUMN key_users         text[],
    ADD COLUMN key_users_roles   text[],
    ADD COLUMN external_accounts text[],
    ADD CHECK ((key_admins IS NULL) = (key_admins_roles IS NULL)
           AND (key_admins IS NULL) = (key_users IS NULL)
           AND (key_admins IS NULL) = (key_users_roles IS NULL)
           AND (key_admins IS NULL) = (external_accounts IS NULL));

-- The template that a job put on a key last. Rows of a template that was deleted stay until the key gets another: a
-- template's id is never used again, and deleting a million rows would not fit into a call.
CREATE TABLE template_uses (
    account     text NOT NULL,
    region      text NOT NULL,
    key_id      text NOT NULL,
    template_id uuid NOT NULL,
    PRIMARY KEY (account, region, key_id)
);
CREATE INDEX template_uses_by_template ON template_uses (template_id);
