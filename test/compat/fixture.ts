/** What the corpus finds in its database: tables whose OIDs are the same in each copy, a type, functions. */

const COLUMNS = Array.from({ length: 1_600 }, (_, index) => `c${index + 1} int2`)

export const FIXTURE = `
  CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
  CREATE TYPE pair AS (a int4, b text);
  CREATE DOMAIN positive AS int4 CHECK (VALUE > 0);
  CREATE TABLE items (id int4 PRIMARY KEY, name text NOT NULL, price numeric(10, 2), seen timestamptz);
  INSERT INTO items SELECT i, 'item ' || i, i * 1.25, timestamptz '2026-01-01Z' + i * interval '1 hour'
    FROM generate_series(1, 100) AS i;
  CREATE TABLE taken (id int4, line text, raw bytea);
  CREATE TABLE parents (id int4 PRIMARY KEY);
  CREATE TABLE children (id int4 PRIMARY KEY, parent int4 REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
  CREATE TABLE many (${COLUMNS.join(', ')});
  INSERT INTO many (c1, c800, c1600) VALUES (1, 800, 1600);
  CREATE TABLE everything (
    b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, t text, v varchar(20), c char(5),
    by bytea, d date, ti time, ts timestamp, tz timestamptz, iv interval, u uuid, j json, jb jsonb,
    ia int4[], ta text[], r int4range, p point, net inet, bi bit(4), m mood, pr pair, po positive, x xid, na name
  );
  INSERT INTO everything VALUES
    (true, -2, 4, 8, 1.5, -2.25, 123456789.123456789, 'text €', 'varchar', 'ch', '\\xdeadbeef', '2026-02-03',
     '04:05:06.789', '2026-02-03 04:05:06', '2026-02-03 04:05:06Z', '1 year 2 days 3 hours',
     '00112233-4455-6677-8899-aabbccddeeff', '{"a": 1}', '{"b": [1, 2]}', '{1,NULL,3}', '{a,"b c"}', '[1,5)',
     '(1,2)', '192.0.2.1/24', '1010', 'happy', '(1,one)', 7, '42', 'a name'),
    (NULL, NULL, NULL, NULL, 'NaN', '-Infinity', 'NaN', '', NULL, NULL, '', 'infinity', NULL, '-infinity', NULL,
     NULL, NULL, NULL, 'null', '{}', NULL, 'empty', NULL, '::1', NULL, NULL, NULL, NULL, NULL, NULL);
  CREATE FUNCTION shout(level text, what text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
      CASE level
        WHEN 'debug' THEN RAISE DEBUG '%', what;
        WHEN 'log' THEN RAISE LOG '%', what;
        WHEN 'info' THEN RAISE INFO '%', what;
        WHEN 'notice' THEN RAISE NOTICE '%', what
          USING DETAIL = 'a detail', HINT = 'a hint', ERRCODE = 'P0N01', TABLE = 'items', COLUMN = 'name';
        WHEN 'warning' THEN RAISE WARNING '%', what;
        ELSE RAISE EXCEPTION '%', what
          USING DETAIL = 'a detail', HINT = 'a hint', ERRCODE = 'P0E01', SCHEMA = 'public',
            TABLE = 'items', COLUMN = 'name', DATATYPE = 'mood', CONSTRAINT = 'none';
      END CASE;
    END $$;
  CREATE PROCEDURE committing(INOUT rounds int4) LANGUAGE plpgsql AS $$
    BEGIN
      FOR round IN 1..rounds LOOP
        INSERT INTO taken (id) VALUES (round);
        COMMIT;
      END LOOP;
    END $$;
  CREATE FUNCTION sleep_loudly() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
      RAISE NOTICE 'asleep';
      PERFORM pg_sleep(60);
    EXCEPTION
      -- Asleep already, or not yet: the error is the same.
      WHEN query_canceled THEN RAISE EXCEPTION 'was cancelled' USING ERRCODE = 'query_canceled';
    END $$;
  CREATE TABLE sleepy (id int4);
  CREATE FUNCTION sleep_first() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM sleep_loudly();
      RETURN NEW;
    END $$;
  CREATE TRIGGER sleeps BEFORE INSERT ON sleepy FOR EACH ROW EXECUTE FUNCTION sleep_first();
  CREATE FUNCTION curs(refcursor) RETURNS refcursor LANGUAGE plpgsql AS $$
    BEGIN
      OPEN $1 FOR SELECT id, name FROM items ORDER BY id;
      RETURN $1;
    END $$;
`
