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
 * not there (bytecode only, a `toString` that hides it). `DEBUG=barewire:driver` says which.
 */
import { runInThisContext } from 'node:vm';
import createDebug from 'debug';
import { functionOption } from '../options.js';
import { foreignNames } from './foreign-names.js';

const debug = createDebug('barewire:driver');

/** Elements of a state array: more than 64 bytes at four or eight bytes each, and a cache line of its own. */
export const STATE_LENGTH = 32;

type Factory = (...parameters: never[]) => unknown;

/** Factories that were called, and of those called again the text that copies are made of: none where they share. */
const used = new WeakMap<Factory, { text?: string | undefined }>();

/**
 * Makes a closure whose compiled code is its own: `factory(layout, ...parameters)` by the factory itself at its first
 * call, by a copy at every other.
 */
export function instantiate<Layout, Parameters extends readonly unknown[], Result>(
  factory: (layout: Layout, ...parameters: Parameters) => Result,
  layout: Layout,
  ...parameters: Parameters
): Result {
  return another(factory)(layout, ...parameters);
}

/**
 * Calls a factory of an application's packet loop so that the engine compiles the loop for just these queues: with all that the
 * factory was given as constants, and with the cursor's methods inlined. Each call after the first one runs a copy of the factory,
 * made from its source text; so the factory uses nothing of its module but types, and gets all else as parameters. Where no copy can
 * run, the loops share their code: slower, never broken.
 * @returns what the factory returns
 * @throws NicError `BAD_OPTION` where it is no function; what the factory throws
 * @example
 * const makeCounter = (bufs: Uint32Array) => () => bufs.length;
 * const count = specialize(makeCounter, new Uint32Array(32));
 */
export function specialize<Parameters extends readonly unknown[], Result>(
  factory: (...parameters: Parameters) => Result,
  ...parameters: Parameters
): Result {
  return another(functionOption('The first parameter of specialize', factory))(...parameters);
}

/** A factory to be called once: the given one, or a copy of it; the given one again where no copy can run. */
function another<F extends Factory>(factory: F): F {
  const before = used.get(factory);
  if (before === undefined) {
    used.set(factory, {});
    return factory;
  }
  if (!('text' in before)) before.text = textOf(factory);
  return before.text === undefined ? factory : (compile(factory.name, before.text) as F);
}

/** The source text of a factory, or undefined where it would not run elsewhere. */
function textOf(factory: Factory): string | undefined {
  try {
    const text = Function.prototype.toString.call(factory);
    const foreign = foreignNames(text);
    if (foreign.length === 0 && typeof compile(factory.name, text) === 'function') return text;
    debug('%s uses %s: its closures share their code', factory.name, foreign.join(', ') || 'no function');
  } catch (error) {
    debug('%s cannot be copied, its closures share their code: %o', factory.name, error);
  }
  return undefined;
}

/** @throws SyntaxError */
function compile(name: string, text: string): unknown {
  return runInThisContext(`'use strict'; (${text})`, { filename: `copy:${name}` });
}
