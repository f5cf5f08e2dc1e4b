/** Splits the text of a filter into words, and says where in the text something is wrong. */
import { NicError } from '../../errors.js';

/** Longest text of a filter; what is longer is a mistake, or an attack. */
export const MAX_FILTER_LENGTH = 16_384;

export interface Token {
  /** As it is written, but `and`, `or`, `not` for `&&`, `||`, `!`. Empty: the end of the text. */
  readonly text: string;
  /** From 0. */
  readonly at: number;
  /** Written with a backslash: a name, whatever keyword it looks like. */
  readonly quoted: boolean;
}

// biome-ignore format: a table
const SYMBOLS: ReadonlyMap<string, string> = new Map([
  ['&&', 'and'], ['||', 'or'], ['!', 'not'], ['(', '('], [')', ')'],
]);
/** A blank, a symbol, a word (with dots, colons, slashes and hyphens in it), or whatever is none of these. */
const PIECE = /\s+|&&|\|\||[!()]|\\?[\w.:/-]+|./gsy;

/** The words of a filter; the last one is the end. @throws NicError `BAD_OPTION` */
export function tokens(text: string): Token[] {
  if (text.length > MAX_FILTER_LENGTH) {
    throw new NicError('BAD_OPTION', `The filter has ${text.length} characters`, {
      hint: `Give one of up to ${MAX_FILTER_LENGTH}.`,
    });
  }
  const found: Token[] = [];
  for (const match of text.matchAll(PIECE)) {
    const [piece] = match;
    const at = match.index;
    if (piece.trim() === '') continue;
    const symbol = SYMBOLS.get(piece);
    const quoted = piece.length > 1 && piece.startsWith('\\');
    if (symbol !== undefined) found.push({ text: symbol, at, quoted: false });
    else if (quoted || /^[\w.:/-]/.test(piece))
      found.push({ text: quoted ? piece.slice(1) : piece, at, quoted });
    else throw filterError(text, at, `${JSON.stringify(piece)} is not understood`, UNKNOWN_HINT);
  }
  found.push({ text: '', at: text.length, quoted: false });
  return found;
}

const UNKNOWN_HINT =
  'Known are host, net, port, portrange, proto, vlan, ether, less, greater, the protocols, and, or, not, parentheses.';

/** The error of a filter: what is wrong, and at which character (from 1). */
export function filterError(text: string, at: number, what: string, hint: string = UNKNOWN_HINT): NicError {
  const where = at >= text.trimEnd().length ? 'at its end' : `at character ${at + 1}`;
  const shown = text.length > 80 ? `${text.slice(0, 77)}...` : text;
  return new NicError('BAD_OPTION', `The filter "${shown}" is wrong ${where}: ${what}`, { hint });
}
