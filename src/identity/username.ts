/**
 * CockroachDB's form of a user's name: lower case, letter by letter, and composed (NFC). Letter by
 * letter, since a text's lower case knows a Greek sigma at a word's end; and Turkish i's are "i"
 * there: `admın` left as it is would arrive as admin. (pkg/sql/lexbase/normalize.go)
 */
export function normalizeUsername(name: string): string {
  // What follows does no more to most names, and each login asks it of several.
  if (PLAIN.test(name)) return name.toLowerCase()
  return Array.from(name, (letter) => (/[İı]/.test(letter) ? 'i' : letter.toLowerCase()))
    .join('')
    .normalize('NFC')
}

/** ASCII that prints. */
const PLAIN = /^[ -~]*$/
