-- Schema changes, each paragraph one transaction, run on what the one before it left; its first line names it.

-- a new table
CREATE TABLE gifts (id int PRIMARY KEY, name varchar(9), price numeric(9, 2));
INSERT INTO gifts SELECT n, 'g' || n, n / 3.0 FROM generate_series(1, 5) n;

-- a column with a constant default
ALTER TABLE gifts ADD COLUMN wrapped text DEFAULT 'paper';
UPDATE gifts SET name = 'new' WHERE id = 2;

-- a column with a default of its own for each row
ALTER TABLE gifts ADD COLUMN token uuid DEFAULT gen_random_uuid();

-- another type, computed
ALTER TABLE gifts ALTER COLUMN price TYPE text USING 'about ' || price;

-- another type, by cast
ALTER TABLE gifts ALTER COLUMN id TYPE bigint;
INSERT INTO gifts VALUES (3000000000, 'far');

-- a column renamed
ALTER TABLE gifts RENAME COLUMN name TO title;
UPDATE gifts SET title = 'x' WHERE id = 3;

-- a column dropped
ALTER TABLE gifts DROP COLUMN wrapped;
DELETE FROM gifts WHERE id = 1;

-- a column of the dropped one's name
ALTER TABLE gifts ADD COLUMN wrapped int;

-- a table renamed
ALTER TABLE gifts RENAME TO presents;
UPDATE presents SET wrapped = 5 WHERE id = 4;

-- another primary key
ALTER TABLE presents DROP CONSTRAINT gifts_pkey;
UPDATE presents SET title = title || '!';
ALTER TABLE presents ADD PRIMARY KEY (title);
UPDATE presents SET id = 1 WHERE id > 3;
INSERT INTO presents (id, title) VALUES (1, 'twin');

-- dropped and made again
DROP TABLE presents;
CREATE TABLE presents (id int PRIMARY KEY, other text);
INSERT INTO presents VALUES (1, 'again');

-- another schema
CREATE SCHEMA shop;
ALTER TABLE presents SET SCHEMA shop;
INSERT INTO shop.presents VALUES (2, '');

-- a schema renamed
ALTER SCHEMA shop RENAME TO store;
UPDATE store.presents SET other = NULL WHERE id = 2;

-- made from a query
CREATE TABLE copied AS SELECT id, other FROM store.presents;
ALTER TABLE copied ADD PRIMARY KEY (id);

-- partitions
CREATE TABLE parts (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO parts SELECT n, '2026-01-01'::date + n FROM generate_series(1, 9) n;

-- a partition detached
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
INSERT INTO parts VALUES (50, '2027-05-05');
ALTER TABLE parts DETACH PARTITION parts_1;

-- types of the user's own
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE DOMAIN share AS numeric CHECK (VALUE < 2);
CREATE TABLE moods (id serial PRIMARY KEY, mood mood, share share DEFAULT 1, twice int GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO moods (mood) VALUES ('glad'), ('sad');
ALTER TYPE mood RENAME VALUE 'sad' TO 'moved';

-- rolled back
SAVEPOINT one;
ALTER TABLE copied ADD COLUMN never int;
UPDATE copied SET never = 1;
ROLLBACK TO one;
UPDATE copied SET other = 'kept';

-- emptied between
TRUNCATE copied;
INSERT INTO copied VALUES (9, 'nine');
ALTER TABLE copied ADD COLUMN more int DEFAULT 4;
TRUNCATE store.presents;

-- a table of the mapping renamed
ALTER TABLE guests RENAME TO people;
ALTER TABLE people RENAME COLUMN wedding_id TO feast;

-- two columns
CREATE TABLE pairs (id int PRIMARY KEY, a bytea, b date);
INSERT INTO pairs VALUES (1, '\x', '2020-01-01');

-- rows, and then columns that take each other's names
UPDATE pairs SET a = '\x01';
ALTER TABLE pairs RENAME a TO c;
ALTER TABLE pairs RENAME b TO a;
ALTER TABLE pairs RENAME c TO b;

-- rows without a key
CREATE TABLE tally (what text, n int);
INSERT INTO tally SELECT 'same', 1 FROM generate_series(1, 4);
INSERT INTO tally VALUES ('other', 2), (NULL, NULL), (NULL, NULL);
DELETE FROM tally WHERE ctid = (SELECT min(ctid) FROM tally WHERE what = 'same');
UPDATE tally SET n = 3 WHERE ctid = (SELECT min(ctid) FROM tally WHERE what = 'same');

-- rows without a key, changed
ALTER TABLE tally ADD COLUMN more numeric DEFAULT 1.50, ALTER COLUMN n TYPE text USING 'n' || n;
INSERT INTO tally SELECT 'same', 'n1', 1.50 FROM generate_series(1, 2);
DELETE FROM tally WHERE ctid = (SELECT max(ctid) FROM tally WHERE what = 'same' AND n = 'n1');
ALTER TABLE tally RENAME COLUMN what TO why;
DELETE FROM tally WHERE ctid = (SELECT min(ctid) FROM tally WHERE why IS NULL);

-- a key taken away and given again
ALTER TABLE copied DROP CONSTRAINT copied_pkey;
INSERT INTO copied VALUES (9, 'nine'), (10, 'ten'), (10, 'ten'), (11, 'x'), (11, 'y');
DELETE FROM copied WHERE ctid = (SELECT max(ctid) FROM copied WHERE id = 10);
DELETE FROM copied WHERE other IN ('nine', 'y');
ALTER TABLE copied ADD PRIMARY KEY (id);
UPDATE copied SET other = 'after' WHERE id = 11;

-- a table with a name that must be quoted
CREATE SCHEMA "My Shop";
CREATE TABLE "My Shop"."Order.x" ("the id" int PRIMARY KEY, "select" text, "dot.ted" int, "Üml ""äut" text);
INSERT INTO "My Shop"."Order.x" SELECT n, 's' || n, n, E'new\nline' FROM generate_series(1, 5) n;
UPDATE "My Shop"."Order.x" SET "select" = 'changed', "the id" = 7 WHERE "the id" = 3;
