// A hint while somebody chooses a password. The server decides; this only saves a round.

export const PASSWORD_MIN = 10;
export const PASSWORD_MAX = 128;

/** Beginnings that everybody thinks of, in lower case. */
const COMMON = [
  'password', 'passw0rd', 'qwerty', 'qwertz', 'asdf', 'zxcv', '1q2w3e', 'iloveyou', 'letmein',
  'welcome', 'admin', 'dragon', 'monkey', 'football', 'stompbox', 'abc123', 'abcd', '비밀번호', 'dkssud',
];

/** How many octets of guessing make a password weak, fair, good, strong. */
const BITS = [28, 42, 56, 70];

/**
 * @returns `{score, hint}`: 0 (refused) to 4, and the key of its words
 */
export function strength(password, email = '') {
  if (!password) return { score: 0, hint: 'strength_none' };
  const length = [...password].length;
  if (length < PASSWORD_MIN) return { score: 0, hint: 'strength_short' };
  if (length > PASSWORD_MAX) return { score: 0, hint: 'strength_long' };
  const text = password.toLowerCase();
  const [local] = email.toLowerCase().split('@');
  if (local.length > 2 && text.includes(local)) return { score: 0, hint: 'strength_email' };
  const score = BITS.filter((bits) => bitsOf(text, password) >= bits).length;
  return { score, hint: `strength_${score}` };
}

/** What is left to guess once runs, repetitions and common words count as one character each. */
function bitsOf(text, password) {
  let rest = COMMON.reduce((left, word) => left.replaceAll(word, ' '), text);
  rest = rest.replace(/(.{1,4}?)\1+/gu, '$1');
  const characters = [...rest];
  const fresh = characters.filter((character, index) => {
    const step = character.codePointAt(0) - (characters[index - 1]?.codePointAt(0) ?? -9);
    return Math.abs(step) > 1;
  });
  const classes = [[/[a-z]/, 26], [/[A-Z]/, 26], [/\d/, 10], [/[^\w]/, 20], [/[^\x00-\x7f]/, 200]];
  const pool = classes.reduce((sum, [kind, size]) => (kind.test(password) ? sum + size : sum), 1);
  return fresh.length * Math.log2(pool);
}
