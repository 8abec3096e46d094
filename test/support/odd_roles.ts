/** Names that a role of PostgreSQL may have, and that one or another way to write a subject rewrites. */
export const ODD_ROLES = [
  'max "the" roach',
  '"',
  'a"postgres"',
  '"postgres"',
  'roach, max',
  'CN=postgres',
  'x,CN=postgres',
  'x+CN=postgres',
  '/CN=postgres',
  '#0c08706f737467726573',
  'back\\slash\\2c',
  'plus+equals=',
  '<angle>;semicolon;',
  ' leading',
  'trailing ',
  '  ',
  "o'brien",
  '%s %n',
  'Größe',
  'combining e\u0301',
  '日本語ロール',
  '😀',
  '\u202eright to left',
  'x'.repeat(63),
  `${'é'.repeat(31)}x`,
  '1',
  'true',
]

/** Names that no token can carry to a node. */
export const CONTROL_ROLES = ['tab\tline\nreturn\r', '\x01\x7f']
