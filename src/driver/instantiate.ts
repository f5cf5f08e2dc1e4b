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
 * where it is declared anywhere in the function.
 */
export function foreignNames(text: string): string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$|'[^'\n]*'|"[^"\n]*"/gm, ' ');
  const declared = new Set(
    [
      ...code.matchAll(/\b(?:const|let|var|function)\s+([A-Za-z_$][\w$]*)/g),
      // Parameters, destructured names, further variables of a declaration, the name behind a colon.
      ...code.matchAll(/[{,(:]\s*([A-Za-z_$][\w$]*)\s*(?=[,})=](?!=))/g),
      ...code.matchAll(/\b([A-Za-z_$][\w$]*)\s*=>/g),
      ...code.matchAll(/\bcatch\s*\(\s*([A-Za-z_$][\w$]*)/g),
    ].map((match) => match[1]!),
  );
  const words = [...code.matchAll(/(?<![.\w$])([A-Za-z_$][\w$]*)(?![\w$])(?!\s*:)/g)].map((match) => match[1]!);
  // A call's last argument looks like a parameter to the rule above, but a helper is called, not declared.
  const called = new Set([...code.matchAll(/(?<![.\w$])([A-Za-z_$][\w$]*)\s*\(/g)].map((match) => match[1]!));
  const isDeclared = (name: string): boolean =>
    declared.has(name) && (!called.has(name) || isDeclaredFunction(code, name));
  const foreign = words.filter((name) => !isDeclared(name) && !KEYWORDS.has(name) && !GLOBALS.has(name));
  return [...new Set(foreign)];
}

function isDeclaredFunction(code: string, name: string): boolean {
  const escaped = name.replace(/\$/g, '\\$');
  return new RegExp(`\\b(?:const|let|var|function)\\s+${escaped}\\b|[{,(:]\\s*${escaped}\\s*(?=[,})=])`).test(
    code,
  );
}
