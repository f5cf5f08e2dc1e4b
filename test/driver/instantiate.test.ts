import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ownCopy } from '../../src/driver/instantiate.js';
import { makeForward } from '../../src/driver/intel/forward-loop.js';
import { makePipe } from '../../src/driver/intel/pipe-loop.js';
import { makeReceive } from '../../src/driver/intel/rx-loop.js';
import { makeReclaim, makeSend } from '../../src/driver/intel/tx-loop.js';
import { DIST, runScript } from '../support/child.js';

const copies = suite('ownCopy');

copies('the original first, then copies that do the same', () => {
  function makeCounter(start: number): () => number {
    let count = start;
    return () => count++;
  }
  const factories = [ownCopy(makeCounter), ownCopy(makeCounter), ownCopy(makeCounter)];
  assert.is(factories[0], makeCounter);
  assert.is(new Set(factories).size, 3);
  for (const [i, factory] of factories.entries()) {
    assert.is(factory.name, 'makeCounter');
    const next = factory(i * 10);
    assert.equal([next(), next()], [i * 10, i * 10 + 1]);
  }
});

copies('copies are strict, as modules are', () => {
  function whatThis(): () => unknown {
    return function inner(this: unknown) {
      return this;
    };
  }
  ownCopy(whatThis);
  const inner = ownCopy(whatThis)();
  assert.is(inner(), undefined);
});

copies('a factory that uses its module is found out when a copy runs', () => {
  const outside = 1;
  function usesModule(): () => number {
    return () => outside;
  }
  ownCopy(usesModule);
  assert.throws(ownCopy(usesModule)(), (error: Error) => error.name === 'ReferenceError');
});

/** Names that a loop may use though it does not declare them. */
const GLOBALS = new Set(['undefined']);

for (const factory of [makeReceive, makeReclaim, makeSend, makeForward, makePipe]) {
  copies(`${factory.name} uses nothing of its module`, () => {
    const source = factory.toString().replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
    const declared = new Set(
      [
        // Parameters, variables, functions, destructured names and their new names.
        ...source.matchAll(/(?:const|let|var|function)\s+([A-Za-z_]\w*)/g),
        ...source.matchAll(/[{,(:]\s*([A-Za-z_]\w*)\s*(?=[,})])/g),
      ].map((match) => match[1]!),
    );
    const keywords =
      /^(?:const|let|var|function|return|if|else|while|for|break|continue|try|finally|null|true|false|loop)$/;
    const used = [...source.matchAll(/(?<![.\w])([A-Za-z_]\w*)\b(?!\s*:)/g)].map((match) => match[1]!);
    const foreign = used.filter(
      (name) =>
        !declared.has(name) && !keywords.test(name) && !GLOBALS.has(name) && !/^[A-Z]\w*\$/.test(name),
    );
    assert.equal([...new Set(foreign)], []);
  });
}

copies('works where strings may not be compiled by eval', () => {
  const { status, stdout, stderr } = runScript(
    `
    import { ownCopy } from '${DIST}src/driver/own-copy.js';
    const make = function make() { return () => 'made'; };
    ownCopy(make);
    console.log(ownCopy(make)()());
  `,
    ['--disallow-code-generation-from-strings'],
  );
  assert.is(status, 0, stderr);
  assert.is(stdout.trim(), 'made');
});

copies.run();
