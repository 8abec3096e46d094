/**
 * A password as SCRAM stretches it: SASLprep (RFC 4013) with PostgreSQL's reading of it, which takes a
 * password that has no such form as it stands. https://www.postgresql.org/docs/18/sasl-authentication.html
 * Rule: ASCII is never changed. Of what Unicode 3.2 didn't know we look for pictures alone, and not for
 * texts of both directions: that matters only beside a letter that has another form.
 */

export function saslprep(password: string): string {
  if (/^\p{ASCII}*$/u.test(password)) return password
  const mapped = password.replace(SPACES, ' ').replace(NOTHING, '')
  // Looked at before the normalisation, as PostgreSQL does.
  return mapped === '' || PROHIBITED.test(mapped) ? password : mapped.normalize('NFKC')
}

/** RFC 3454, tables C.1.2 and B.1. A character in both is a space. */
const SPACES = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/g
const NOTHING = /\u00ad|\u034f|\u1806|[\u180b-\u180d]|\u200c|\u200d|\u2060|[\ufe00-\ufe0f]|\ufeff/g

/** Tables C.2 to C.9: controls, private use, what is no character or no text; and pictures. */
const PROHIBITED = new RegExp(
  [
    /\p{Cc}|\p{Co}|\p{Cs}|\p{Noncharacter_Code_Point}/u,
    /\u06dd|\u070f|\u180e|\u2028|\u2029|[\u2061-\u2063]|[\u206a-\u206f]|[\ufff9-\ufffd]/u,
    /[\u{1d173}-\u{1d17a}]|[\u2ff0-\u2ffb]|\u0340|\u0341|\u200e|\u200f|[\u202a-\u202e]/u,
    /\u{e0001}|[\u{e0020}-\u{e007f}]|[\u{1f000}-\u{1faff}]/u,
  ]
    .map(({ source }) => source)
    .join('|'),
  'u',
)
