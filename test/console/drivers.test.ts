/** What clients ask of a server when they begin, as they were heard to. */
import { expect, it } from 'vitest'
import { answerDriver, parametersOf } from '../../src/console/drivers.ts'

const ASKER = { user: 'ops', database: 'postern', version: '1.2.3' }

it.each<[string, string, unknown]>([
  ['SELECT 1', 'SELECT 1', 1],
  ['select 1 as x', 'SELECT 1', 1],
  ['SELECT version()', 'SELECT 1', 'PostgreSQL 18.0 (Postern 1.2.3)'],
  ['select pg_catalog.version()', 'SELECT 1', 'PostgreSQL 18.0 (Postern 1.2.3)'],
  ['SELECT current_database()', 'SELECT 1', 'postern'],
  ['select current_user', 'SELECT 1', 'ops'],
  ['SELECT  current_schema()', 'SELECT 1', undefined],
  ["SELECT pg_catalog.set_config('search_path', '', false)", 'SELECT 1', ''],
  ['SHOW TRANSACTION ISOLATION LEVEL', 'SHOW', 'read committed'],
  ['show standard_conforming_strings', 'SHOW', 'on'],
  ['SHOW server_version', 'SHOW', '18.0 (Postern)'],
  ['SHOW TIME ZONE', 'SHOW', 'UTC'],
])('%s', (statement, tag, value) => {
  expect(answerDriver(statement, ASKER)).toMatchObject({ tag, view: { rows: [[value]] } })
})

it.each([
  ['SET extra_float_digits = 3', 'SET'],
  ["SET application_name = 'PostgreSQL JDBC Driver'", 'SET'],
  ["SET SESSION search_path TO 'x'", 'SET'],
  ["SET TIME ZONE 'Europe/Vienna'", 'SET'],
  ["SET client_encoding TO 'UTF8'", 'SET'],
  ['SET NAMES utf8', 'SET'],
  ['SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY', 'SET'],
  ['RESET ALL', 'RESET'],
  ['DISCARD ALL', 'DISCARD ALL'],
])('%s changes nothing', (statement, tag) => {
  expect(answerDriver(statement, ASKER)).toEqual({ tag })
})

it.each([
  'SELECT * FROM pg_class',
  'SELECT 2',
  'SELECT 1; SELECT 2',
  'SET role = postgres',
  'SET session_authorization = postgres',
  'SHOW what',
  'CREATE TABLE x ()',
  "SELECT pg_catalog.set_config('search_path', (SELECT 'x'), false)",
])('%s has no answer', (statement) => {
  expect(answerDriver(statement, ASKER)).toBeUndefined()
})

it('speaks UTF-8 alone', () => {
  expect(() => answerDriver('SET client_encoding = LATIN1', ASKER)).toThrow(
    'the console speaks UTF8 alone, not latin1',
  )
})

it('tells what libpq and JDBC go by', () => {
  const told = new Map(parametersOf('ops'))
  expect(told.get('client_encoding')).toBe('UTF8')
  expect(told.get('DateStyle')).toMatch(/^ISO/)
  expect(told.get('integer_datetimes')).toBe('on')
  expect(told.get('session_authorization')).toBe('ops')
})
