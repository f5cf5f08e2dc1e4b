/**
 * A packet loop for each queue. Loops are closures over their queue's rings and tables, made by a factory. While a
 * factory has made one closure only, V8 compiles the closure with all that it captured as constants: ring addresses,
 * sizes and masks become immediate operands, and the checks of each array are done once, by the compiler. From the
 * second closure on they share code, and that code has to load and check everything anew (measured: twice the time per
 * packet; docs/performance.md). So each queue takes a copy of the factory, made from its source text.
 *
 * Such a factory may use nothing of its module: bits, word numbers and element numbers come as its first parameter, the
 * `layout`, a frozen object that the compiler takes apart. Arrays that a loop keeps its state in must be longer than 64
 * bytes: smaller ones lie in the engine's heap, where they move.
 *
 * Where a copy cannot run, all queues share the original: slower, never broken. That is so where a bundler or a coverage
 * tool put calls of helpers of its own into the source (esbuild with `keepNames`, Istanbul), and where the source text is
 * not there (bytecode only).
 */
import { runInThisContext } from 'node:vm';
import createDebug from 'debug';

const debug = createDebug('barewire:driver');

const used = new WeakSet<object>();

/** Elements of a state array: more than 64 bytes at four or eight bytes each, and a cache line of its own. */
export const STATE_LENGTH = 32;

/** Names that code may use though it declares them nowhere. */
const GLOBALS = new Set(['undefined', 'Infinity', 'NaN', 'Math', 'Uint32Array', 'Int32Array']);

const KEYWORDS = new Set(
  (
    'break case catch const continue default delete do else false finally for function if in instanceof let new null of ' +
    'return switch this throw true try typeof use strict var void while'
  ).split(' '),
);

/**
 * Makes a closure whose compiled code is its own: `factory(layout, ...parameters)` by the factory itself at its first
 * call, by a copy at every other.
 */
export function instantiate<Layout, Parameters extends readonly unknown[], Result>(
  factory: (layout: Layout, ...parameters: Parameters) => Result,
  layout: Layout,
  ...parameters: Parameters
): Result {
  if (!used.has(factory)) {
    used.add(factory);
    return factory(layout, ...parameters);
  }
  return (copyOf(factory) ?? factory)(layout, ...parameters);
}

/** The same function once more, or undefined where a copy cannot run. */
function copyOf<F extends (...parameters: never[]) => unknown>(factory: F): F | undefined {
  const text = Function.prototype.toString.call(factory);
  const foreign = foreignNames(text);
  if (foreign.length > 0) {
    debug('%s uses %s: its closures share their code', factory.name, foreign.join(', '));
    return undefined;
  }
  try {
    return runInThisContext(`'use strict'; (${text})`, { filename: `copy:${factory.name}` }) as F;
  } catch (error) {
    debug('%s cannot be copied, its closures share their code: %o', factory.name, error);
    return undefined;
  }
}

/**
 * Names in a function's source that it does not declare itself. By its words, not by parsing: a name counts as declared
 * where it is declared anywhere in the function. Code that this does not understand makes too many names, not too few.
 */
export function foreignNames(text: string): string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$|'[^'\n]*'|"[^"\n]*"|`[^`$]*`/gm, ' ');
  const declared = new Set([...declaredNames(code), ...KEYWORDS, ...GLOBALS]);
  const words = Array.from(code.matchAll(/(?<![.\w$])[A-Za-z_$][\w$]*(?![\w$])/g))
    // A key of an object or a label: `{ key: value }`.
    .filter(({ 0: name, index }) => !isKey(code, index, index + name.length))
    .map(({ 0: name }) => name);
  // `...rest` is a name behind dots.
  const spread = Array.from(code.matchAll(/\.\.\.\s*([A-Za-z_$][\w$]*)/g), ([, name]) => name!);
  return [...new Set([...words, ...spread])].filter((name) => !declared.has(name));
}

function isKey(code: string, start: number, end: number): boolean {
  const before = code.slice(0, start).trimEnd().at(-1);
  return /^\s*:/.test(code.slice(end, end + 20)) && before !== undefined && '{,;}'.includes(before);
}

const NAME = /^\s*(?:\.\.\.)?\s*([A-Za-z_$][\w$]*)\s*(?:=(?!=)|$)/;

/** Names of functions, parameters, variables and labels. */
function declaredNames(code: string): string[] {
  const names = Array.from(
    code.matchAll(/\bfunction\s+([A-Za-z_$][\w$]*)|(?:^|[;{}])\s*([A-Za-z_$][\w$]*)\s*:(?!:)/gm),
    ([, fn, label]) => (fn ?? label)!,
  );
  const single = Array.from(code.matchAll(/\b([A-Za-z_$][\w$]*)\s*=>/g), ([, name]) => name!);
  const lists = [
    ...code.matchAll(/\bfunction\b[^(]*\(([^()]*)\)/g),
    ...code.matchAll(/\(([^()]*)\)\s*=>/g),
    ...code.matchAll(/\bcatch\s*\(([^()]*)\)/g),
    ...code.matchAll(/\b(?:const|let|var)\b([^;]*?)(?=;|\bof\b|\bin\b|$)/g),
  ].flatMap(([, list]) => namesOfList(list!));
  return [...names, ...single, ...lists];
}

/** Names that a list of parameters or of declared variables binds: `a, { b, c: d = 1 }, [e] = f`. */
function namesOfList(list: string): string[] {
  return splitAtCommas(list).flatMap((entry) => {
    const pattern = /^\s*([[{])([\s\S]*?)[\]}]\s*(?:=|$)/.exec(entry);
    if (pattern === null) return NAME.exec(entry)?.[1] ?? [];
    // Behind a colon stands the name that is bound.
    return splitAtCommas(pattern[2]!).flatMap((part) => namesOfList(part.replace(/^[^:=]*:/, '')));
  });
}

/** Splits at commas that are in no brackets. */
function splitAtCommas(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    if ('([{'.includes(text[i]!)) depth++;
    else if (')]}'.includes(text[i]!)) depth--;
    else if (text[i] === ',' && depth === 0) {
      parts.push(text.slice(start, i));
      start = i + 1;
    }
  }
  return [...parts, text.slice(start)];
}
