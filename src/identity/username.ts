/**
 * CockroachDB's form of a user's name: lower case, letter by letter, and composed (NFC). Letter by
 * letter, since a text's lower case knows a Greek sigma at a word's end; and Turkish i's are "i"
 * there: `admın` left as it is would arrive as admin. (pkg/sql/lexbase/normalize.go)
 */
export function normalizeUsername(name: string): string {
  return Array.from(name, (letter) => (/[İı]/.test(letter) ? 'i' : letter.toLowerCase()))
    .join('')
    .normalize('NFC')
}
