#!/bin/bash
# Runs once, when the database is made: a role for the schedulers that reads and writes rows and owns nothing.
# The tables belong to POSTGRES_USER, as whom the migrations run.
set -euo pipefail
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" \
  --set=database="$POSTGRES_DB" --set=password="$KEYFLEET_PASSWORD" <<'SQL'
CREATE ROLE keyfleet LOGIN PASSWORD :'password';
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO keyfleet;
GRANT USAGE ON SCHEMA public TO keyfleet;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO keyfleet;
SQL
