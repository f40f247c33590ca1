"""The SQL that prepares a user's own database for capture, and what takes it away again. Every statement is idempotent.

Why each: the publication must cover tables that do not exist yet; REPLICA IDENTITY FULL is the only way to see what
an UPDATE or DELETE replaced, large values too; recreated tables fall back to DEFAULT, so a trigger sets FULL in the
very transaction that creates them, and writes every change of the schema into the log (`schema_capture.sql`).
What each table had before is remembered in `wedsync.replica_identity`.
"""

from __future__ import annotations

import importlib.resources
from typing import Final, LiteralString

PUBLICATION: Final[LiteralString] = "wedsync_backup"
SLOT: Final[LiteralString] = "wedsync_backup"
EVENT_TRIGGERS: Final = ("wedsync_schema", "wedsync_rewrite", "wedsync_new_table")
SYSTEM_SCHEMAS: Final[LiteralString] = "('pg_catalog', 'information_schema', 'wedsync')"

LOCK_TIMEOUT: Final[LiteralString] = "SET lock_timeout = '5s'"

SCHEMA: Final[LiteralString] = """
CREATE SCHEMA IF NOT EXISTS wedsync;
CREATE TABLE IF NOT EXISTS wedsync.heartbeat (id integer PRIMARY KEY, beat_at timestamp with time zone);
ALTER TABLE wedsync.heartbeat REPLICA IDENTITY FULL;
CREATE TABLE IF NOT EXISTS wedsync.debezium_signal (
    id character varying(64) PRIMARY KEY, type character varying(32) NOT NULL, data text
);
CREATE TABLE IF NOT EXISTS wedsync.replica_identity (
    relation oid PRIMARY KEY, table_name text NOT NULL, identity "char" NOT NULL, index_name text
)
"""

# The event triggers and what they call; more SQL than a Python text should hold.
CAPTURE_SCHEMA: Final = (importlib.resources.files("ops") / "schema_capture.sql").read_text(encoding="utf-8")

PUBLISH: Final[LiteralString] = f"""
DO $do$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = '{PUBLICATION}' AND NOT puballtables) THEN
        RAISE EXCEPTION 'publication {PUBLICATION} exists but is not FOR ALL TABLES'
            USING HINT = 'drop it: new tables would never be captured';
    ELSIF NOT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = '{PUBLICATION}') THEN
        CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES;
    END IF;
END
$do$
"""

# One table at a time, each committed: no table is locked while the next one is waited for.
REPLICA_IDENTITY_FULL: Final[LiteralString] = f"""
DO $do$
DECLARE
    each record;
BEGIN
    FOR each IN
        SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, c.relreplident, i.relname AS index_name
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_catalog.pg_index x ON x.indrelid = c.oid AND x.indisreplident
        LEFT JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
        WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND c.relreplident <> 'f'
          AND n.nspname NOT IN {SYSTEM_SCHEMAS} AND n.nspname NOT LIKE 'pg\\_%'
    LOOP
        INSERT INTO wedsync.replica_identity (relation, table_name, identity, index_name)
        VALUES (each.oid, each.name, each.relreplident, each.index_name)
        ON CONFLICT (relation) DO UPDATE
        SET table_name = excluded.table_name, identity = excluded.identity, index_name = excluded.index_name;
        EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', each.name);
        COMMIT;
    END LOOP;
END
$do$
"""

PREPARATION: Final = (LOCK_TIMEOUT, SCHEMA, CAPTURE_SCHEMA, PUBLISH, REPLICA_IDENTITY_FULL)

REMEMBERED_IDENTITIES: Final[LiteralString] = """
SELECT format('%I.%I', n.nspname, c.relname), r.identity::text, i.relname
FROM wedsync.replica_identity r
JOIN pg_catalog.pg_class c ON c.oid = r.relation AND c.relreplident = 'f'
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_index x ON x.indrelid = c.oid AND r.identity = 'i'
    AND EXISTS (SELECT FROM pg_catalog.pg_class k WHERE k.oid = x.indexrelid AND k.relname = r.index_name)
LEFT JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
ORDER BY 1
"""
