/** A database with every kind of object that pg_dump knows, and how to look at what came of it. */

const LARGE = 20_000
export const SUBSCRIPTION = 'compat_never'

export const SAMPLE = String.raw`
CREATE SCHEMA shop AUTHORIZATION maxroach;
COMMENT ON SCHEMA shop IS 'a comment, with ''quotes'' and ü';
CREATE EXTENSION citext SCHEMA shop;
CREATE EXTENSION btree_gist;
SET search_path = shop, public;
CREATE TYPE colour AS ENUM ('red', 'green "and" blue', '');
CREATE TYPE address AS (street text, number int, tags text[]);
CREATE DOMAIN postcode AS text DEFAULT '00000' NOT NULL CONSTRAINT digits CHECK (VALUE ~ '^\d{5}$');
CREATE TYPE span AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE TYPE shell_only;
CREATE TYPE odd;
CREATE FUNCTION odd_in(cstring) RETURNS odd LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION odd_out(odd) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE odd (INPUT = odd_in, OUTPUT = odd_out, LIKE = text);
CREATE CAST (odd AS text) WITHOUT FUNCTION AS ASSIGNMENT;
CREATE COLLATION backwards FROM "C";
CREATE CONVERSION own_conversion FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE SEQUENCE numbers AS smallint START -5 INCREMENT -1 MINVALUE -9 CYCLE;
CREATE TABLE customers (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name citext NOT NULL COLLATE backwards,
  at address,
  code postcode,
  favourite colour DEFAULT 'red',
  joined date NOT NULL DEFAULT '2026-01-01',
  upper_name text GENERATED ALWAYS AS (upper(name::text)) STORED,
  busy tstzrange,
  CONSTRAINT never_twice EXCLUDE USING gist (id WITH =, busy WITH &&)
);
ALTER TABLE customers ALTER COLUMN code SET STORAGE EXTERNAL, ALTER joined SET STATISTICS 500;
COMMENT ON COLUMN customers.code IS 'five digits';
CREATE TABLE orders (
  id bigserial PRIMARY KEY,
  customer int NOT NULL REFERENCES customers ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
  total numeric(12, 2) CHECK (total >= 0),
  place odd,
  UNIQUE NULLS NOT DISTINCT (customer, total)
) WITH (fillfactor = 70);
ALTER TABLE orders ADD CONSTRAINT not_yet CHECK (id < 1000000) NOT VALID;
CREATE TABLE events (at timestamptz NOT NULL, what jsonb, raw bytea) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01Z') TO ('2026-01-01Z');
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01Z') TO ('2027-01-01Z') PARTITION BY LIST ((what ->> 'kind'));
CREATE TABLE events_2026_a PARTITION OF events_2026 FOR VALUES IN ('a', NULL);
CREATE TABLE events_2026_other PARTITION OF events_2026 DEFAULT;
CREATE TABLE hashed (k int) PARTITION BY HASH (k);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE parent_table (a int, b text);
CREATE TABLE child_table (c date) INHERITS (parent_table);
CREATE UNLOGGED TABLE forgotten (a int);
CREATE TABLE typed OF address;
CREATE TABLE "Odd ""name"" of a täble" ("select" int, "ü" text, "with space" text);
CREATE INDEX ON customers USING hash (name);
CREATE UNIQUE INDEX some_only ON orders (lower(customer::text) DESC NULLS LAST, id) INCLUDE (total) WHERE total > 10;
CREATE INDEX ON events USING gin (what jsonb_path_ops);
CREATE INDEX ON events USING brin (at) WITH (pages_per_range = 4);
CREATE STATISTICS together (dependencies, ndistinct, mcv) ON customer, total FROM orders;
CREATE VIEW big_orders WITH (security_barrier) AS SELECT * FROM orders WHERE total > 100 WITH LOCAL CHECK OPTION;
CREATE RECURSIVE VIEW counting (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM counting WHERE n < 5;
CREATE MATERIALIZED VIEW totals AS SELECT customer, sum(total) AS total FROM orders GROUP BY 1 WITH DATA;
CREATE UNIQUE INDEX ON totals (customer);
CREATE MATERIALIZED VIEW never_filled AS SELECT 1 AS one WITH NO DATA;
CREATE RULE no_deletes AS ON DELETE TO parent_table DO INSTEAD NOTHING;
CREATE FUNCTION add_up(a int, VARIADIC b int[] DEFAULT '{}') RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 5
  BEGIN ATOMIC SELECT a + coalesce((SELECT sum(x) FROM unnest(b) AS x), 0)::int; END;
CREATE FUNCTION rows_of(OUT a int, OUT b text) RETURNS SETOF record LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog ROWS 7 AS $body$ BEGIN RETURN QUERY SELECT 1, 'it''s $1'; END $body$;
CREATE PROCEDURE do_it(INOUT x int) LANGUAGE plpgsql AS $$ BEGIN x := x + 1; COMMIT; END $$;
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER before_all BEFORE INSERT OR UPDATE OF total ON orders FOR EACH ROW WHEN (NEW.total > 5) EXECUTE FUNCTION touched('an argument');
CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION touched();
CREATE TRIGGER with_rows AFTER DELETE ON customers REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION touched();
ALTER TABLE customers DISABLE TRIGGER with_rows;
CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE EVENT TRIGGER watches ON ddl_command_end WHEN TAG IN ('CREATE VIEW') EXECUTE FUNCTION on_ddl();
CREATE AGGREGATE longest (text) (SFUNC = text_larger, STYPE = text, INITCOND = '');
CREATE AGGREGATE my_rank (VARIADIC "any" ORDER BY VARIADIC "any") (SFUNC = ordered_set_transition_multi, STYPE = internal, FINALFUNC = rank_final, FINALFUNC_EXTRA, HYPOTHETICAL);
CREATE FUNCTION near(float8, float8) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT abs($1 - $2) < 1';
CREATE OPERATOR ~~~ (LEFTARG = float8, RIGHTARG = float8, FUNCTION = near, COMMUTATOR = ~~~, RESTRICT = contsel);
CREATE OPERATOR FAMILY ints USING btree;
CREATE OPERATOR CLASS int_ops_of_ours FOR TYPE int4 USING btree FAMILY ints AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(int4, int4);
CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;
CREATE TABLE kept_by_heap2 (a int) USING heap2;
CREATE TEXT SEARCH DICTIONARY simplest (TEMPLATE = pg_catalog.simple, STOPWORDS = english);
CREATE TEXT SEARCH CONFIGURATION plain (COPY = pg_catalog.simple);
ALTER TEXT SEARCH CONFIGURATION plain ALTER MAPPING FOR word WITH simplest;
CREATE TEXT SEARCH PARSER words (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype);
CREATE TEXT SEARCH TEMPLATE bare (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE FOREIGN DATA WRAPPER nobody OPTIONS (debug 'true');
CREATE SERVER elsewhere TYPE 'some' VERSION '1' FOREIGN DATA WRAPPER nobody OPTIONS (host 'db.example');
CREATE USER MAPPING FOR maxroach SERVER elsewhere OPTIONS ("user" 'far', secret 'not one');
CREATE FOREIGN TABLE afar (a int OPTIONS (column_name 'b')) SERVER elsewhere OPTIONS (table_name 'x');
CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal), TO SQL WITH FUNCTION int4recv(internal));
CREATE PUBLICATION some_rows FOR TABLE orders (id, customer, total) WHERE (total > 5) WITH (publish = 'insert');
CREATE PUBLICATION of_a_schema FOR TABLES IN SCHEMA public;
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE SUBSCRIPTION ${SUBSCRIPTION} CONNECTION 'host=db.example dbname=x' PUBLICATION p WITH (connect = false);
ALTER TABLE customers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON customers AS RESTRICTIVE FOR UPDATE TO maxroach, reader USING (name = current_user) WITH CHECK (id > 0);
GRANT SELECT (id, name), UPDATE (code) ON customers TO reader WITH GRANT OPTION;
GRANT USAGE ON SCHEMA shop TO PUBLIC;
GRANT EXECUTE ON FUNCTION add_up TO reader;
REVOKE EXECUTE ON FUNCTION rows_of FROM PUBLIC;
GRANT USAGE ON FOREIGN SERVER elsewhere TO reader;
ALTER DEFAULT PRIVILEGES FOR ROLE maxroach IN SCHEMA shop GRANT SELECT ON TABLES TO reader;
ALTER DEFAULT PRIVILEGES FOR ROLE maxroach REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
INSERT INTO customers (name, at, code, favourite, busy) SELECT 'customer ' || i, ROW('street "' || i || '"', i, ARRAY['a', NULL, 'b,c'])::address,
  lpad(i::text, 5, '0'), (ARRAY['red', 'green "and" blue', '', NULL]::colour[])[1 + i % 4], tstzrange('2026-01-01Z', NULL) FROM generate_series(1, 500) AS i;
INSERT INTO orders (customer, total, place) SELECT 1 + i % 500, i * 0.25, ('place ' || i)::odd FROM generate_series(1, 3000) AS i;
INSERT INTO events SELECT timestamptz '2025-06-01Z' + i * interval '1 day', jsonb_build_object('kind', chr(97 + i % 3), 'n', i), decode(md5(i::text), 'hex')
  FROM generate_series(1, 500) AS i;
INSERT INTO hashed SELECT generate_series(1, 100);
INSERT INTO parent_table VALUES (1, E'tab\t, newline\n, backslash \\, \\N, \\.');
INSERT INTO child_table VALUES (2, NULL, '0044-03-15 BC');
INSERT INTO "Odd ""name"" of a täble" VALUES (1, '€', ''), (NULL, repeat('x', ${LARGE}), E'\r\n');
REFRESH MATERIALIZED VIEW totals;
SELECT setval('numbers', -3);
SELECT lo_from_bytea(5151, decode(repeat('00ff', ${LARGE}), 'hex'));
COMMENT ON LARGE OBJECT 5151 IS 'a large one';
GRANT SELECT ON LARGE OBJECT 5151 TO reader;
ALTER DATABASE compat SET work_mem = '7MB';
COMMENT ON DATABASE compat IS 'all of it';
`

/** What the catalogue says, in text that doesn't depend on OIDs. */
export const DEFINITIONS = `
SET search_path = pg_catalog;
SELECT relkind, oid::regclass, relpersistence, reloptions, relacl FROM pg_class WHERE relnamespace IN ('shop'::regnamespace, 'public'::regnamespace) ORDER BY oid::regclass::text;
SELECT attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, attacl, attfdwoptions FROM pg_attribute
  JOIN pg_class AS c ON c.oid = attrelid WHERE relnamespace = 'shop'::regnamespace AND attnum > 0 ORDER BY attrelid::regclass::text, attnum;
SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'shop'::regnamespace ORDER BY conrelid::regclass::text, conname;
SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid WHERE relnamespace = 'shop'::regnamespace ORDER BY 1;
SELECT pg_get_viewdef(oid) FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'shop'::regnamespace ORDER BY relname;
SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'shop'::regnamespace AND prokind IN ('f', 'p') AND prolang <> 13 ORDER BY 1;
SELECT pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1;
SELECT pg_get_ruledef(oid) FROM pg_rewrite WHERE rulename = 'no_deletes';
SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext;
SELECT typname, typtype, typnotnull, typdefault FROM pg_type WHERE typnamespace = 'shop'::regnamespace ORDER BY typname;
SELECT polname, polcmd, polpermissive, pg_get_expr(polqual, polrelid) FROM pg_policy;
SELECT pubname, puballtables, pubinsert FROM pg_publication ORDER BY 1;
SELECT evtname, evtevent, evttags FROM pg_event_trigger;
SELECT oprname, oprcode FROM pg_operator WHERE oprnamespace = 'shop'::regnamespace;
SELECT srvname, srvoptions, srvacl FROM pg_foreign_server;
SELECT defaclrole::regrole, defaclobjtype, defaclacl FROM pg_default_acl ORDER BY 1, 2;
SELECT obj_description('shop'::regnamespace, 'pg_namespace');
COPY (SELECT * FROM shop.customers ORDER BY id) TO STDOUT;
COPY (SELECT * FROM shop.orders ORDER BY id) TO STDOUT;
COPY (SELECT * FROM shop.events ORDER BY at) TO STDOUT (FORMAT csv);
COPY (SELECT * FROM shop.hashed ORDER BY k) TO STDOUT;
COPY (SELECT * FROM shop.parent_table ORDER BY a) TO STDOUT;
COPY (SELECT * FROM shop."Odd ""name"" of a täble" ORDER BY 1) TO STDOUT;
SELECT md5(lo_get(5151));
`
