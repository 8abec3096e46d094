/** What psql is asked to do: its commands that look at the catalogue, copy, repeat, describe, and fail. */
export const PSQL_SCRIPT = String.raw`
\set VERBOSITY verbose
\set SHOW_CONTEXT always
\pset pager off
\encoding
\d items
\d+ everything
\dt
\df shout
\dT+
\l compat_template
\dn+
\du maxroach
SELECT * FROM everything \gx
SELECT id, name FROM items ORDER BY id LIMIT 3 \g (format=csv)
SELECT i, t, v FROM everything AS e, LATERAL (SELECT 1 AS i) AS x \gdesc
SELECT 'SELECT ' || id || ' AS generated' FROM items WHERE id < 4 ORDER BY id \gexec
SELECT 41 + 1 AS answer \gset
\echo the answer is :answer
\set FETCH_COUNT 7
SELECT id, price FROM items ORDER BY id;
\unset FETCH_COUNT
SELECT id % 3 AS a, id % 2 AS b, count(*) AS c FROM items GROUP BY 1, 2 ORDER BY 1, 2 \crosstabview
\copy (SELECT * FROM items ORDER BY id LIMIT 5) TO pstdout CSV HEADER
\copy taken (id, line) FROM pstdin
1	one
2	two
\.
\copy taken FROM pstdin
broken
\.
COPY taken (id, line) FROM STDIN;
3	three
\.
SELECT id, line FROM taken ORDER BY id, line;
COPY items TO STDOUT (FORMAT csv);
BEGIN;
SELECT 1/0;
SELECT 1;
ROLLBACK;
\set ON_ERROR_ROLLBACK on
BEGIN;
INSERT INTO items (id) VALUES (1);
SELECT 'goes on';
COMMIT;
\set ON_ERROR_ROLLBACK off
\set AUTOCOMMIT off
INSERT INTO parents VALUES (500);
ROLLBACK;
\set AUTOCOMMIT on
SELECT shout('notice', 'heard'), shout('warning', 'too');
SELECT shout('error', 'and refused');
\errverbose
LISTEN something;
\timing off
SELECT 1 \; SELECT 2 AS two \; SELECT 3/0 \; SELECT 4;
PREPARE add_one (int) AS SELECT $1 + 1;
EXECUTE add_one(1);
\sf shout
SET client_encoding = 'LATIN1';
SELECT U&'\00fc' = 'x';
SET client_encoding = 'UTF8';
\c -
SELECT 'connected again';
\lo_list
SELECT repeat('w', 100000) AS wide;
SELECT i FROM generate_series(1, 5000) AS i;
DO $$ BEGIN RAISE INFO 'from a block'; END $$;
`
