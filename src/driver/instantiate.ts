/**
 * A packet loop for each queue. Loops are closures over their queue's rings and tables, made by a factory. While a
 * factory has made one closure only, V8 compiles the closure with all that it captured as constants: ring addresses,
 * sizes and masks become immediate operands, and the checks of each array are done once, by the compiler. From the
 * second closure on they share code, and that code has to load and check everything anew (measured: twice the time per
 * packet; docs/performance.md). So each queue takes a copy of the factory.
 *
 * Such a factory may use nothing of its module: all that it needs comes by its parameters. Arrays that a loop keeps its
 * state in must be longer than 64 bytes: smaller ones lie in the engine's heap, where they move.
 */
import { runInThisContext } from 'node:vm';

const used = new WeakSet<object>();

/** Elements of a state array: more than 64 bytes at four or eight bytes each, and a cache line of its own. */
export const STATE_LENGTH = 32;

/** Returns the factory at its first call and a copy at every other. */
export function ownCopy<Factory extends (...parameters: never[]) => unknown>(factory: Factory): Factory {
  if (!used.has(factory)) {
    used.add(factory);
    return factory;
  }
  const source = `'use strict'; (${Function.prototype.toString.call(factory)})`;
  return runInThisContext(source, { filename: `own-copy:${factory.name}` }) as Factory;
}
