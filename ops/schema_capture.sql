-- How the schema gets into the log: in the very transaction that changes it, before the next row.
--
-- After each DDL command the whole schema is described and compared with what was described last; what
-- differs goes out as one logical message `wedsync.shape`. Comparing, instead of reading what the command
-- was, holds for every command there is, and heals itself: what one call missed the next one tells.
--
-- What was told is remembered by adding rows, never by changing them: several transactions may change the schema at
-- the same time, and none may wait for another here, or be the one that a deadlock ends. The highest `told` that a
-- transaction sees counts; a shape of NULL is an object that is gone.

CREATE TABLE IF NOT EXISTS wedsync.shape_told (
    told bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text NOT NULL, relation oid NOT NULL, shape jsonb
);
CREATE INDEX IF NOT EXISTS shape_told_of ON wedsync.shape_told (kind, relation, told);
CREATE OR REPLACE VIEW wedsync.shape_now AS
SELECT kind, relation, shape FROM (
    SELECT DISTINCT ON (kind, relation) kind, relation, shape FROM wedsync.shape_told ORDER BY kind, relation, told DESC
) AS latest WHERE shape IS NOT NULL;

CREATE OR REPLACE FUNCTION wedsync.is_ours(namespace name) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $function$
    SELECT namespace IN ('pg_catalog', 'information_schema', 'wedsync') OR namespace LIKE 'pg\_%'
$function$;

-- A domain is followed down to the type under it: values are written as that type.
CREATE OR REPLACE FUNCTION wedsync.base_type(wanted oid, modifier integer, OUT type oid, OUT typmod integer)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    WITH RECURSIVE down (type, typmod, depth) AS (
        SELECT wanted, modifier, 0
        UNION ALL
        SELECT t.typbasetype, CASE WHEN down.typmod = -1 THEN t.typtypmod ELSE down.typmod END, depth + 1
        FROM down JOIN pg_type t ON t.oid = down.type AND t.typtype = 'd'
    )
    SELECT down.type, down.typmod FROM down ORDER BY depth DESC LIMIT 1
$function$;

-- Tables that another transaction has shut against all, or is waiting to. Postgres' functions that write out checks,
-- indexes, views and the like open the tables they speak of: they would wait there, and may end in a deadlock. Of such
-- tables what was told last is taken: this transaction cannot have changed them.
CREATE OR REPLACE FUNCTION wedsync.shut_elsewhere() RETURNS oid[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT coalesce(array_agg(l.relation), '{}') FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid()
      AND d.datname = current_database()
$function$;

CREATE OR REPLACE FUNCTION wedsync.told_of(wanted_kind text, wanted oid) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT shape FROM wedsync.shape_now WHERE kind = wanted_kind AND relation = wanted
$function$;

-- Whether a view, a function or a trigger speaks of a table that is shut.
CREATE OR REPLACE FUNCTION wedsync.speaks_of_shut(class oid, object oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass
        AND d.refobjid = ANY ((SELECT wedsync.shut_elsewhere())::oid[]) AND (d.classid, d.objid) IN (
            SELECT class, object UNION ALL SELECT 'pg_rewrite'::regclass, r.oid FROM pg_rewrite r WHERE r.ev_class = object))
$function$;

CREATE OR REPLACE FUNCTION wedsync.columns_of(wanted oid) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT jsonb_agg(jsonb_build_object(
        'n', a.attnum, 'name', a.attname,
        'type', format_type(b.type, b.typmod),
        'kind', coalesce(element.typtype, t.typtype),
        'declared', format_type(a.atttypid, a.atttypmod),
        'required', nullif(a.attnotnull, false),
        'generated', nullif(a.attgenerated, ''),
        'identity', nullif(a.attidentity, ''),
        'default', pg_get_expr(d.adbin, d.adrelid),
        -- What rows from before ADD COLUMN … DEFAULT hold, although nobody ever wrote it into them.
        'missing', CASE WHEN a.atthasmissing THEN (a.attmissingval::text::text[])[1] END,
        'collation', CASE WHEN a.attcollation <> declared.typcollation THEN
            (SELECT format('%I.%I', cn.nspname, co.collname) FROM pg_collation co
             JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = a.attcollation) END
    ) ORDER BY a.attnum)
    FROM pg_attribute a
    CROSS JOIN LATERAL wedsync.base_type(a.atttypid, a.atttypmod) b
    JOIN pg_type t ON t.oid = b.type
    JOIN pg_type declared ON declared.oid = a.atttypid
    LEFT JOIN pg_type element ON element.oid = t.typelem AND t.typcategory = 'A'
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = wanted AND a.attnum > 0 AND NOT a.attisdropped
$function$;

CREATE OR REPLACE FUNCTION wedsync.action_of(code "char") RETURNS text
LANGUAGE sql IMMUTABLE AS $function$
    SELECT CASE code WHEN 'r' THEN 'RESTRICT' WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL'
        WHEN 'd' THEN 'SET DEFAULT' END
$function$;

-- What a foreign key says beside its columns, as SQL.
CREATE OR REPLACE FUNCTION wedsync.rules_of(link pg_catalog.pg_constraint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT concat_ws(' ', CASE link.confmatchtype WHEN 'f' THEN 'MATCH FULL' END,
        'ON UPDATE ' || wedsync.action_of(link.confupdtype), 'ON DELETE ' || wedsync.action_of(link.confdeltype),
        (SELECT format('(%s)', string_agg(quote_ident(a.attname), ', ' ORDER BY s.place))
         FROM jsonb_array_elements_text(nullif(to_jsonb(link)->'confdelsetcols', 'null')) WITH ORDINALITY AS s (n, place)
         JOIN pg_attribute a ON a.attrelid = link.conrelid AND a.attnum = s.n::int HAVING count(*) > 0),
        CASE WHEN link.condeferrable THEN 'DEFERRABLE' END, CASE WHEN link.condeferred THEN 'INITIALLY DEFERRED' END,
        CASE WHEN NOT link.convalidated THEN 'NOT VALID' END)
$function$;

CREATE OR REPLACE FUNCTION wedsync.table_now(wanted oid) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT jsonb_build_object(
        'name', n.nspname || '.' || c.relname, 'sort', c.relkind,
        'columns', wedsync.columns_of(c.oid),
        'key', (SELECT to_jsonb(x.conkey) FROM pg_constraint x WHERE x.conrelid = c.oid AND x.contype = 'p'),
        'unique', (SELECT to_jsonb(array_agg(i.indkey::int2[] ORDER BY i.indnkeyatts, i.indexrelid)) FROM pg_index i
            WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL
              AND i.indexprs IS NULL AND i.indnatts = i.indnkeyatts AND NOT EXISTS (
                SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
                  AND NOT a.attnotnull)),
        -- By numbers, not as text: another transaction may rename the table it leads to, which is no change of this one.
        'links', (SELECT jsonb_agg(jsonb_build_object(
                'columns', to_jsonb(f.conkey), 'table', f.confrelid::bigint, 'references', to_jsonb(f.confkey),
                'name', CASE WHEN f.conislocal AND f.conparentid = 0 THEN f.conname END,
                'rules', wedsync.rules_of(f)) ORDER BY f.oid)
            FROM pg_constraint f WHERE f.conrelid = c.oid AND f.contype = 'f'),
        'parent', (SELECT h.inhparent::bigint FROM pg_inherits h WHERE h.inhrelid = c.oid ORDER BY h.inhseqno LIMIT 1),
        'bound', CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid) END,
        'partition_key', CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
        'constraints', (SELECT jsonb_agg(jsonb_build_object(
                'name', k.conname, 'type', k.contype, 'sql', pg_get_constraintdef(k.oid)) ORDER BY k.conname)
            FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'c', 'x')
              AND k.conislocal AND k.conparentid = 0),
        'indexes', (SELECT jsonb_agg(pg_get_indexdef(i.indexrelid) ORDER BY i.indexrelid) FROM pg_index i
            WHERE i.indrelid = c.oid AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid
              AND k.contype IN ('p', 'u', 'x')) AND NOT EXISTS (
                SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid))
    )
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = wanted
$function$;

CREATE OR REPLACE FUNCTION wedsync.tables_now() RETURNS TABLE (kind text, relation oid, shape jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT 'table', c.oid, CASE WHEN told.shape IS NOT NULL AND c.oid = ANY ((SELECT wedsync.shut_elsewhere())::oid[])
        THEN told.shape ELSE wedsync.table_now(c.oid) END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN wedsync.shape_now told ON told.kind = 'table' AND told.relation = c.oid
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND NOT wedsync.is_ours(n.nspname)
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid
        AND e.deptype = 'e')
$function$;

-- Types, sequences and functions: what the tables' own definitions speak of, as SQL that makes it again.
CREATE OR REPLACE FUNCTION wedsync.others_now() RETURNS TABLE (kind text, relation oid, shape jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT 'schema', n.oid, jsonb_build_object('name', n.nspname, 'sql', format('CREATE SCHEMA IF NOT EXISTS %I', n.nspname))
    FROM pg_namespace n WHERE NOT wedsync.is_ours(n.nspname)
    UNION ALL
    SELECT 'extension', x.oid, jsonb_build_object('name', x.extname,
        'sql', format('CREATE EXTENSION IF NOT EXISTS %I SCHEMA %I', x.extname, n.nspname))
    FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace WHERE x.extname <> 'plpgsql'
    UNION ALL
    SELECT 'type', t.oid, jsonb_build_object('name', n.nspname || '.' || t.typname, 'sql', CASE t.typtype
        WHEN 'e' THEN format('CREATE TYPE %I.%I AS ENUM (%s)', n.nspname, t.typname,
            (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e
             WHERE e.enumtypid = t.oid))
        WHEN 'd' THEN concat_ws(' ', format('CREATE DOMAIN %I.%I AS %s', n.nspname, t.typname,
            format_type(t.typbasetype, t.typtypmod)), 'DEFAULT ' || t.typdefault,
            CASE WHEN t.typnotnull THEN 'NOT NULL' END,
            (SELECT string_agg(format('CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)), ' ' ORDER BY k.conname)
             FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'))
        WHEN 'r' THEN (SELECT format('CREATE TYPE %I.%I AS RANGE (SUBTYPE = %s)', n.nspname, t.typname,
            format_type(r.rngsubtype, NULL)) FROM pg_range r WHERE r.rngtypid = t.oid)
        WHEN 'c' THEN format('CREATE TYPE %I.%I AS (%s)', n.nspname, t.typname,
            (SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum)
             FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped))
        END, 'labels', (SELECT jsonb_agg(jsonb_build_array(e.oid::bigint, e.enumlabel) ORDER BY e.oid) FROM pg_enum e
            WHERE e.enumtypid = t.oid))
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_class c ON c.oid = t.typrelid
    WHERE (t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c') AND NOT wedsync.is_ours(n.nspname)
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid AND e.deptype = 'e')
    UNION ALL
    SELECT 'sequence', c.oid, jsonb_build_object('name', n.nspname || '.' || c.relname,
        'sql', format('CREATE SEQUENCE %I.%I AS %s INCREMENT %s MINVALUE %s MAXVALUE %s START %s CACHE %s%s',
            n.nspname, c.relname, format_type(s.seqtypid, NULL), s.seqincrement, s.seqmin, s.seqmax, s.seqstart,
            s.seqcache, CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END),
        'owner', (SELECT jsonb_build_array(d.refobjid::bigint, d.refobjsubid) FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'a' AND d.refobjsubid > 0))
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relpersistence <> 't' AND NOT wedsync.is_ours(n.nspname) AND NOT EXISTS (SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('i', 'e'))
    UNION ALL
    SELECT 'function', p.oid, jsonb_build_object('name', p.oid::regprocedure::text, 'sql',
        CASE WHEN wedsync.speaks_of_shut('pg_proc'::regclass, p.oid) THEN wedsync.told_of('function', p.oid)->>'sql'
        ELSE pg_get_functiondef(p.oid) END)
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.prokind IN ('f', 'p') AND NOT wedsync.is_ours(n.nspname) AND NOT EXISTS (SELECT FROM pg_depend e
        WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
    UNION ALL
    SELECT 'view', c.oid, jsonb_build_object('name', n.nspname || '.' || c.relname, 'sql',
        CASE WHEN wedsync.speaks_of_shut('pg_class'::regclass, c.oid) THEN wedsync.told_of('view', c.oid)->>'sql' ELSE
        format(CASE c.relkind WHEN 'm' THEN 'CREATE MATERIALIZED VIEW %I.%I AS %s' ELSE 'CREATE VIEW %I.%I AS %s' END,
        n.nspname, c.relname, rtrim(pg_get_viewdef(c.oid), '; ')) END)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('v', 'm') AND c.relpersistence <> 't' AND NOT wedsync.is_ours(n.nspname)
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
    UNION ALL
    SELECT 'trigger', g.oid, jsonb_build_object('name', g.tgname, 'table', g.tgrelid::bigint, 'sql',
        CASE WHEN wedsync.speaks_of_shut('pg_trigger'::regclass, g.oid) THEN wedsync.told_of('trigger', g.oid)->>'sql'
        ELSE pg_get_triggerdef(g.oid) END)
    FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT g.tgisinternal AND g.tgparentid = 0 AND c.relpersistence = 'p' AND NOT wedsync.is_ours(n.nspname)
$function$;

-- Postgres orders a message by where its record ends, a row by where its record begins: a row that follows
-- at once, outside of the message's subtransaction, would come first. So something harmless stands between.
CREATE OR REPLACE FUNCTION wedsync.pad() RETURNS void
LANGUAGE sql AS $function$ SELECT pg_catalog.pg_logical_emit_message(true, 'wedsync.pad', '') $function$;

-- Which rows of what was told are seen: another transaction that told something and ended shows by it.
CREATE OR REPLACE FUNCTION wedsync.all_told() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT md5(string_agg(told::text, ' ' ORDER BY told)) FROM wedsync.shape_told
$function$;

-- Removes what was told again since; what somebody else is removing just now is left to them.
CREATE OR REPLACE FUNCTION wedsync.forget_told() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $function$
    DELETE FROM wedsync.shape_told WHERE current_setting('transaction_isolation') = 'read committed' AND told IN (
        SELECT o.told FROM wedsync.shape_told o WHERE EXISTS (SELECT FROM wedsync.shape_told n
            WHERE n.kind = o.kind AND n.relation = o.relation AND n.told > o.told) FOR UPDATE OF o SKIP LOCKED)
$function$;

-- What differs from what was told last, and what is gone. Some functions above look into the catalog as it is at
-- this moment, others as it was when the query began: what another transaction's commit fell between is described anew.
CREATE OR REPLACE FUNCTION wedsync.differing(OUT changed jsonb, OUT gone jsonb)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    seen text;
BEGIN
    FOR attempt IN 1 .. 20 LOOP
        WITH present AS MATERIALIZED (
            SELECT kind, relation, jsonb_strip_nulls(shape) AS shape FROM wedsync.tables_now()
            UNION ALL SELECT kind, relation, jsonb_strip_nulls(shape) FROM wedsync.others_now()
        )
        SELECT wedsync.all_told(),
            (SELECT jsonb_agg(jsonb_build_object('is', p.kind, 'oid', p.relation::bigint) || p.shape
                ORDER BY p.kind, p.relation)
             FROM present p LEFT JOIN wedsync.shape_now s USING (kind, relation) WHERE s.shape IS DISTINCT FROM p.shape),
            (SELECT jsonb_agg(jsonb_build_object('is', s.kind, 'oid', s.relation::bigint))
             FROM wedsync.shape_now s
             WHERE NOT EXISTS (SELECT FROM present p WHERE p.kind = s.kind AND p.relation = s.relation))
        INTO seen, changed, gone;
        EXIT WHEN seen IS NOT DISTINCT FROM wedsync.all_told();
    END LOOP;
END
$function$;

-- Tells what differs from what was told last; `rewritten` are tables whose rows DDL has changed:
-- pairs of oid and whether their rows follow in this transaction. Returns whether anything was told.
CREATE OR REPLACE FUNCTION wedsync.note_schema(cause text, rewritten jsonb DEFAULT '[]') RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    is_whole boolean := NOT EXISTS (SELECT FROM wedsync.shape_told);
    changed jsonb;
    gone jsonb;
BEGIN
    SELECT d.changed, d.gone INTO changed, gone FROM wedsync.differing() d;
    IF changed IS NULL AND gone IS NULL AND rewritten = '[]' THEN
        RETURN false;
    END IF;
    INSERT INTO wedsync.shape_told (kind, relation, shape)
    SELECT each->>'is', (each->>'oid')::oid, each - 'is' - 'oid' FROM jsonb_array_elements(changed) AS c (each)
    UNION ALL SELECT each->>'is', (each->>'oid')::oid, NULL FROM jsonb_array_elements(gone) AS g (each);
    PERFORM wedsync.forget_told();
    PERFORM pg_logical_emit_message(true, 'wedsync.shape', jsonb_build_object(
        'version', 1, 'cause', cause, 'whole', is_whole, 'objects', coalesce(changed, '[]'),
        'dropped', coalesce(gone, '[]'), 'rewritten', rewritten)::text);
    PERFORM wedsync.pad();
    RETURN true;
END
$function$;

-- Tells everything again: the beginning of an epoch. Whoever changes the schema just now is waited for, and nobody
-- begins until this transaction has ended: else what they change would be told as it was before.
CREATE OR REPLACE FUNCTION wedsync.note_whole_schema(cause text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    LOCK TABLE wedsync.shape_told IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM wedsync.shape_told;
    RETURN wedsync.note_schema(cause);
END
$function$;

-- By which column a row can be written once more as it is; none for a table of identities alone.
CREATE OR REPLACE FUNCTION wedsync.touchable(wanted oid) RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT attname FROM pg_attribute
    WHERE attrelid = wanted AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attidentity <> 'a'
    ORDER BY attlen < 0, attnum LIMIT 1
$function$;

-- A rewritten table's rows are written once more, as they are now, so that the log has them; the platform's
-- own triggers stay silent. Large tables are copied by Debezium instead: a lock must not be held for minutes.
CREATE OR REPLACE FUNCTION wedsync.touch(wanted oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET session_replication_role = replica
AS $function$
BEGIN
    EXECUTE format('UPDATE ONLY %s SET %I = %I', wanted::regclass, wedsync.touchable(wanted), wedsync.touchable(wanted));
END
$function$;

CREATE OR REPLACE FUNCTION wedsync.on_rewrite() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    -- 2: a default that must be computed for each row, 4: another type. The others leave the values alone.
    IF pg_event_trigger_table_rewrite_reason() & 6 <> 0 THEN
        PERFORM set_config('wedsync.rewritten', concat_ws(',', nullif(current_setting('wedsync.rewritten', true), ''),
            pg_event_trigger_table_rewrite_oid()::bigint), true);
    END IF;
END
$function$;

CREATE OR REPLACE FUNCTION wedsync.full_identities() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    created record;
BEGIN
    FOR created IN
        SELECT DISTINCT c.oid, c.oid::regclass AS name, c.relreplident
        FROM pg_event_trigger_ddl_commands() d
        JOIN pg_class c ON c.oid = d.objid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
          AND c.relreplident <> 'f' AND NOT wedsync.is_ours(n.nspname)
          AND d.command_tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE')
    LOOP
        INSERT INTO wedsync.replica_identity (relation, table_name, identity)
        VALUES (created.oid, created.name::text, created.relreplident) ON CONFLICT DO NOTHING;
        EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', created.name);
    END LOOP;
END
$function$;

-- Which of the rewritten tables are written once more here and now: pairs of oid and yes or no.
CREATE OR REPLACE FUNCTION wedsync.rewritten_tables() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT coalesce(jsonb_agg(DISTINCT jsonb_build_array(c.oid::bigint,
        wedsync.touchable(c.oid) IS NOT NULL AND pg_relation_size(c.oid) <= 67108864)), '[]')
    FROM unnest(string_to_array(nullif(current_setting('wedsync.rewritten', true), ''), ',')::oid[]) AS r (relation)
    JOIN pg_class c ON c.oid = r.relation AND c.relpersistence = 'p' AND c.relkind = 'r'
    JOIN pg_namespace n ON n.oid = c.relnamespace AND NOT wedsync.is_ours(n.nspname)
$function$;

-- A failing backup must not fail the application's DDL: it warns, and the log says that the schema is not known.
CREATE OR REPLACE FUNCTION wedsync.on_ddl() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 AS $function$
DECLARE
    rewritten jsonb := '[]';
    each record;
BEGIN
    IF current_setting('wedsync.is_noting', true) = 'on' OR tg_tag IN ('GRANT', 'REVOKE', 'COMMENT', 'REINDEX',
        'SECURITY LABEL', 'REFRESH MATERIALIZED VIEW', 'ALTER DEFAULT PRIVILEGES', 'CREATE STATISTICS') THEN
        RETURN;
    END IF;
    IF tg_tag LIKE 'CREATE %' AND NOT EXISTS (SELECT FROM pg_event_trigger_ddl_commands() d
        WHERE d.schema_name IS DISTINCT FROM 'pg_temp') THEN
        RETURN;
    END IF;
    rewritten := wedsync.rewritten_tables();
    PERFORM set_config('wedsync.rewritten', '', true);
    PERFORM set_config('wedsync.is_noting', 'on', true);
    PERFORM wedsync.full_identities();
    PERFORM wedsync.note_schema(tg_tag, rewritten);
    FOR each IN SELECT (pair->>0)::oid AS relation, (pair->>1)::boolean AS is_here
        FROM jsonb_array_elements(rewritten) AS p (pair)
    LOOP
        IF each.is_here THEN
            PERFORM wedsync.touch(each.relation);
        ELSE
            INSERT INTO wedsync.debezium_signal (id, type, data)
            SELECT format('rewritten-%s-%s', c.oid, txid_current()), 'execute-snapshot', jsonb_build_object(
                'type', 'incremental', 'data-collections', jsonb_build_array(n.nspname || '.' || c.relname))::text
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = each.relation
            ON CONFLICT DO NOTHING;
        END IF;
    END LOOP;
    PERFORM set_config('wedsync.is_noting', 'off', true);
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'wedsync: the backup could not note this change of the schema: %', SQLERRM;
    PERFORM pg_logical_emit_message(true, 'wedsync.shape', jsonb_build_object('version', 1, 'cause', tg_tag,
        'failed', SQLERRM, 'rewritten', (SELECT coalesce(jsonb_agg(jsonb_build_array(p.pair->0, false)), '[]')
            FROM jsonb_array_elements(rewritten) AS p (pair)))::text);
    PERFORM wedsync.pad();
END
$function$;

DO $do$
BEGIN
    DROP TABLE IF EXISTS wedsync.shape;
    DROP EVENT TRIGGER IF EXISTS wedsync_new_table;
    DROP FUNCTION IF EXISTS wedsync.new_table();
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger WHERE evtname = 'wedsync_schema') THEN
        CREATE EVENT TRIGGER wedsync_schema ON ddl_command_end EXECUTE FUNCTION wedsync.on_ddl();
        ALTER EVENT TRIGGER wedsync_schema ENABLE ALWAYS;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger WHERE evtname = 'wedsync_rewrite') THEN
        CREATE EVENT TRIGGER wedsync_rewrite ON table_rewrite EXECUTE FUNCTION wedsync.on_rewrite();
        ALTER EVENT TRIGGER wedsync_rewrite ENABLE ALWAYS;
    END IF;
END
$do$
