/**
 * Which names a function takes from around it: those that its source text uses in a place where it has not declared them.
 * Text that is compiled again elsewhere must have none (`instantiate.ts`).
 *
 * This reads words, brackets and declarations; it is no parser. Where it has to guess, it guesses that a name is foreign:
 * a name too many costs speed, a name too few would end in a ReferenceError. Declarations count for the smallest piece of
 * text that they are sure to count for (a `var` for its block, that of a loop's head for one statement), and what is not
 * understood at all (regular expressions, templates with `${`, names with other letters than ASCII) is foreign itself.
 *
 * Source: ECMAScript 2023, 12 (tokens), 12.10 (where a line ends a statement), 14 and 15 (what declares).
 */

/** Names that code may use though it declares them nowhere: ECMAScript's own, which no module calls something else. */
const GLOBALS = new Set(
  (
    'undefined Infinity NaN Math Number Atomics DataView Int8Array Uint8Array Int16Array Uint16Array Int32Array Uint32Array ' +
    'Float32Array Float64Array'
  ).split(' '),
);

/** Words that are no names. Others that the language reserves (`class`, `yield`) count as foreign names. */
const KEYWORDS = new Set(
  (
    'break case catch const continue default delete do else false finally for function if in instanceof let new null ' +
    'return switch this throw true try typeof var void while'
  ).split(' '),
);

/** Keywords that a value ends with, and those that a statement may end with. */
const VALUES = new Set(['this', 'null', 'true', 'false']);
const LAST_WORDS = new Set(['return', 'break', 'continue']);

/** Blanks and comments; a name; a number; a string; a mark. */
const TOKEN = new RegExp(
  [
    String.raw`((?:\s+|\/\/.*|\/\*[^]*?\*\/)+)`,
    String.raw`([A-Za-z_$][\w$]*)`,
    String.raw`((?:0[xXoObB][\da-fA-F_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?)n?)`,
    String.raw`('(?:[^'\\\n\r]|\\[^])*'|"(?:[^"\\\n\r]|\\[^])*"|${'`'}(?:[^${'`'}\\$]|\\[^])*${'`'})`,
    String.raw`(=>|\.\.\.|\?\.(?!\d)|[=!]==?|\?\?=?|&&=?|\|\|=?|<<=?|>>>?=?|[<>]=|\*\*=?|\+\+|--|[-+*/%&|^]=?|[{}()[\];,.<>!~?:=])`,
  ].join('|'),
  'y',
);
const LINE_BREAK = /[\n\r\u2028\u2029]/;
/** What scripts take for the start of a comment, and modules not. */
const HTML_COMMENT = /<!--|-->/;

/** What may stand before a line break that ends a statement, beside values. */
const LAST_MARKS = /^(?:[)\]}]|\+\+|--)$/;
/** What a line begins with that continues the one before; all else may begin a statement of its own. */
const CONTINUES = /^(?![{!~]|\+\+|--)[^\w$'"`]|^(?:in|instanceof)$/;

const KINDS = ['name', 'number', 'string'] as const;

interface Token {
  readonly text: string;
  readonly kind: (typeof KINDS)[number] | 'mark';
  /** First on its line. */
  readonly newLine: boolean;
  /** The bracket that this one closes, or that closes this one; -1 for what is no bracket. */
  match: number;
  /** The innermost bracket that this is in; -1 outside of all. */
  readonly within: number;
}

/** Thrown where the text is not understood. */
class NotUnderstood {
  readonly what: string;
  constructor(what: string) {
    this.what = what;
  }
}

/** @returns names that the function does not declare, each once, in the order of their first use; a mark that is not understood */
export function foreignNames(text: string): string[] {
  try {
    const html = HTML_COMMENT.exec(text);
    if (html !== null) throw new NotUnderstood(html[0]);
    return new Names(tokensOf(text)).foreign();
  } catch (error) {
    if (error instanceof NotUnderstood) return [error.what];
    throw error;
  }
}

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  const open: number[] = [];
  let newLine = false;
  TOKEN.lastIndex = 0;
  for (let at = 0; at < text.length; at = TOKEN.lastIndex) {
    const [word, space, name, number, string] = TOKEN.exec(text) ?? [];
    if (word === undefined) throw new NotUnderstood(text[at]!);
    if (space !== undefined) {
      newLine = LINE_BREAK.test(space);
      continue;
    }
    const kind = KINDS[[name, number, string].findIndex((group) => group !== undefined)] ?? 'mark';
    // What is no division begins a regular expression.
    if ((word === '/' || word === '/=') && !endsValue(tokens, tokens.length - 1))
      throw new NotUnderstood(word);
    const closing = kind === 'mark' ? ')]}'.indexOf(word) : -1;
    const match = closing < 0 ? -1 : (open.pop() ?? -1);
    if (closing >= 0) {
      if (tokens[match]?.text !== '([{'[closing]) throw new NotUnderstood(word);
      tokens[match]!.match = tokens.length;
    }
    tokens.push({ text: word, kind, newLine, match, within: open.at(-1) ?? -1 });
    if (kind === 'mark' && '([{'.includes(word)) open.push(tokens.length - 1);
    newLine = false;
  }
  if (open.length > 0) throw new NotUnderstood(tokens[open[0]!]!.text);
  return tokens;
}

/** Whether a value may end here, so that an operator has to follow. */
function endsValue(tokens: readonly Token[], at: number): boolean {
  const token = tokens[at];
  if (token === undefined) return false;
  if (token.kind === 'name') return !KEYWORDS.has(token.text) || VALUES.has(token.text);
  if (token.kind !== 'mark') return true;
  // `if (a) /b/.exec(c)`. What follows `}` may be either.
  if (token.text === ')') return !/^(?:if|for|while|with)$/.test(tokens[token.match - 1]?.text ?? '');
  return token.text === ']';
}

/** The tokens of a function, and where in them each name is declared. */
class Names {
  readonly #tokens: readonly Token[];
  /** By name: the first and the last token for which a declaration counts, one pair after the other. */
  readonly #declared = new Map<string, number[]>();

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
    for (const [at, { text, kind }] of tokens.entries()) {
      if (text === '=>') this.#arrow(at);
      if (kind !== 'name' || this.#isLabel(at)) continue;
      if (text === 'function') this.#function(at);
      if (text === 'catch') this.#parameters(at + 1, at + 1);
      if (text === 'let' || text === 'const' || text === 'var') this.#variables(at);
    }
  }

  foreign(): string[] {
    const used = this.#tokens.flatMap(({ text, kind }, at) =>
      kind !== 'name' ||
      KEYWORDS.has(text) ||
      GLOBALS.has(text) ||
      this.#isLabel(at) ||
      this.#isDeclared(text, at)
        ? []
        : text,
    );
    return [...new Set(used)];
  }

  #text(at: number): string {
    return this.#tokens[at]?.text ?? '';
  }

  #isDeclared(name: string, at: number): boolean {
    const places = this.#declared.get(name) ?? [];
    for (let i = 0; i < places.length; i += 2) if (places[i]! <= at && at <= places[i + 1]!) return true;
    return false;
  }

  #declare(at: number, [first, last]: readonly [number, number]): void {
    const { text, kind } = this.#tokens[at]!;
    if (kind !== 'name' || KEYWORDS.has(text)) return;
    const places = this.#declared.get(text);
    if (places === undefined) this.#declared.set(text, [first, last]);
    else places.push(first, last);
  }

  /** A word that names no variable: `.name`, `name:` of an object or a statement, `break name`, `of` in the head of a loop. */
  #isLabel(at: number): boolean {
    const before = this.#text(at - 1);
    const { within, newLine } = this.#tokens[at]!;
    if (before === '.' || before === '?.') return true;
    if (before === 'break' || before === 'continue') return !newLine;
    if (this.#text(at) === 'of' && this.#text(within) === '(' && this.#text(within - 1) === 'for')
      return before === '}' || (before !== 'of' && endsValue(this.#tokens, at - 1));
    if (this.#text(at + 1) !== ':') return false;
    if (before !== ',') return before === '{' || before === '}' || before === ';';
    // `case a, b:`; any other comma before `name:` is in an object.
    return this.#text(within) === '{' && this.#text(within - 1) !== ')';
  }

  #function(at: number): void {
    const isNamed = this.#text(at + 1) !== '(';
    const end = this.#parameters(at + 1 + Number(isNamed), at);
    if (!isNamed || end < 0) return;
    const { within } = this.#tokens[at]!;
    const isStatement = /^[{};]$/.test(this.#text(at - 1)) && this.#text(within) === '{';
    this.#declare(at + 1, isStatement ? [within, this.#tokens[within]!.match] : [at, end]);
  }

  /** Parameters in brackets before a block in braces. Returns its end; -1 where it is something else. */
  #parameters(at: number, from: number): number {
    const close = this.#text(at) === '(' ? this.#tokens[at]!.match : -1;
    if (close < 0 || this.#text(close + 1) !== '{') return -1;
    const end = this.#tokens[close + 1]!.match;
    this.#list(at, [from, end]);
    return end;
  }

  #arrow(at: number): void {
    const first = this.#text(at - 1) === ')' ? this.#tokens[at - 1]!.match : at - 1;
    const body = at + 1;
    const end = this.#text(body) === '{' ? this.#tokens[body]!.match : this.#expressionEnd(body) - 1;
    if (first === at - 1) this.#declare(first, [first, end]);
    else this.#list(first, [first, end]);
  }

  #variables(at: number): void {
    const { within } = this.#tokens[at]!;
    const bracket = this.#text(within);
    if (bracket !== '{' && bracket !== '(') return;
    const { match } = this.#tokens[within]!;
    const last = bracket === '{' ? match : this.#statementEnd(match + 1);
    for (let next = at + 1; ; next++) {
      next = this.#expressionEnd(this.#pattern(next, [within, last]));
      if (this.#text(next) !== ',') return;
    }
  }

  /** Declares what a name, `[a, b]` or `{ a, b: c }` binds. Returns the token behind it. */
  #pattern(at: number, place: readonly [number, number]): number {
    const { text, match } = this.#tokens[at]!;
    if (text === '[' || text === '{') {
      this.#list(at, place);
      return match + 1;
    }
    this.#declare(at, place);
    return at + 1;
  }

  /** The same for all between two brackets: `a, { b }, [c] = d, ...e`, and in braces `key: a` as well. */
  #list(open: number, place: readonly [number, number]): void {
    const { match } = this.#tokens[open]!;
    let at = open + 1;
    while (at < match) {
      if (this.#text(at) === '...') at++;
      if (this.#text(open) === '{') {
        // Behind a colon stands what is bound; `[computed]` has one always.
        const key = this.#text(at) === '[' ? this.#tokens[at]!.match : at;
        if (this.#text(key + 1) === ':') at = key + 2;
      }
      if (this.#text(at) !== ',') at = this.#expressionEnd(this.#pattern(at, place));
      if (at !== match && this.#text(at) !== ',') throw new NotUnderstood(this.#text(at));
      at++;
    }
  }

  /** The token behind an expression: a comma, a semicolon, a closing bracket, or what begins a new statement. */
  #expressionEnd(start: number): number {
    let questions = 0;
    for (let at = start; at < this.#tokens.length; at++) {
      const { text, match, newLine } = this.#tokens[at]!;
      // In the head of a loop, with what may be commas after it.
      if (at === start && (text === 'in' || text === 'of')) return at;
      if (/^[,;)\]}]$/.test(text)) return at;
      if (text === ':' && questions-- === 0) return at;
      if (text === '?') questions++;
      if (at > start && newLine && this.#beginsStatement(at)) return at;
      if (match > at) at = match;
    }
    return this.#tokens.length;
  }

  /** Whether a line break before this token may end a statement. */
  #beginsStatement(at: number): boolean {
    const before = this.#text(at - 1);
    const ends = endsValue(this.#tokens, at - 1) || LAST_MARKS.test(before) || LAST_WORDS.has(before);
    return ends && !CONTINUES.test(this.#text(at));
  }

  /** The last token that is sure to belong to the statement that begins here. */
  #statementEnd(start: number): number {
    for (let at = start; at < this.#tokens.length; at++) {
      const { text, match, newLine } = this.#tokens[at]!;
      if (text === ';' || text === '{') return Math.max(at, match);
      if (/^[)\]}]$/.test(text) || (at > start && newLine && this.#beginsStatement(at))) return at - 1;
      if (match > at) at = match;
    }
    return start;
  }
}
