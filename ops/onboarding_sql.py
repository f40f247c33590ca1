"""The SQL that prepares a user's own database for capture, and what takes it away again. Every statement is idempotent.

Why each: the publication must cover tables that do not exist yet; REPLICA IDENTITY FULL is the only way to see what
an UPDATE or DELETE replaced, large values too; recreated tables fall back to DEFAULT, so a trigger sets FULL in the
very transaction that creates them. What each table had before is remembered in `wedsync.replica_identity`.
"""

from __future__ import annotations

from typing import Final, LiteralString

PUBLICATION: Final[LiteralString] = "wedsync_backup"
SLOT: Final[LiteralString] = "wedsync_backup"
EVENT_TRIGGER: Final[LiteralString] = "wedsync_new_table"
NEW_TABLE_TAGS: Final[LiteralString] = "'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO'"
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

# A failing backup must not fail the application's DDL: the trigger only warns.
NEW_TABLE_FUNCTION: Final[LiteralString] = f"""
CREATE OR REPLACE FUNCTION wedsync.new_table() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    created record;
BEGIN
    FOR created IN
        SELECT c.oid, c.oid::regclass AS name, c.relreplident
        FROM pg_event_trigger_ddl_commands() d
        JOIN pg_class c ON c.oid = d.objid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
          AND n.nspname NOT IN {SYSTEM_SCHEMAS}
    LOOP
        INSERT INTO wedsync.replica_identity (relation, table_name, identity)
        VALUES (created.oid, created.name::text, created.relreplident) ON CONFLICT DO NOTHING;
        EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', created.name);
    END LOOP;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'wedsync: a new table did not get REPLICA IDENTITY FULL: %', SQLERRM;
END
$function$
"""

NEW_TABLE_TRIGGER: Final[LiteralString] = f"""
DO $do$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger WHERE evtname = '{EVENT_TRIGGER}') THEN
        CREATE EVENT TRIGGER {EVENT_TRIGGER} ON ddl_command_end
            WHEN TAG IN ({NEW_TABLE_TAGS}) EXECUTE FUNCTION wedsync.new_table();
        ALTER EVENT TRIGGER {EVENT_TRIGGER} ENABLE ALWAYS;
    END IF;
END
$do$
"""

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

PREPARATION: Final = (LOCK_TIMEOUT, SCHEMA, NEW_TABLE_FUNCTION, NEW_TABLE_TRIGGER, PUBLISH, REPLICA_IDENTITY_FULL)

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
