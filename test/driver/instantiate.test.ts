import * as assert from 'uvu/assert';
import { instantiate, specialize } from '../../src/driver/instantiate.js';
import { DIST, runScript } from '../support/child.js';
import { expectError } from '../support/expect-error.js';
import { suite } from '../support/suite.js';

const copies = suite('instantiate');

const LAYOUT = Object.freeze({ STEP: 10 });

copies('each closure keeps a state of its own and reads the layout', () => {
  function makeCounter(layout: typeof LAYOUT, start: number): () => number {
    const { STEP } = layout;
    let count = start;
    return () => {
      count += STEP;
      return count;
    };
  }
  const counters = [0, 1, 2].map((start) => instantiate(makeCounter, LAYOUT, start));
  for (const [start, next] of counters.entries()) {
    assert.equal([next(), next()], [start + 10, start + 20]);
  }
});

/** Whether two closures have code of their own: V8 keeps one piece of source text for those that share it. */
copies('the original first, then copies, which are strict as modules are', () => {
  const made: { readonly stack: string; readonly self: unknown }[] = [];
  function whatThis(_layout: null, seen: typeof made, trace: () => string): () => void {
    return function inner(this: unknown) {
      seen.push({ stack: trace(), self: this });
    };
  }
  for (let i = 0; i < 3; i++) instantiate(whatThis, null, made, () => String(new Error('made').stack))();
  assert.equal(
    made.map(({ stack }) => stack.includes('copy:whatThis')),
    [false, true, true],
  );
  assert.equal(
    made.map(({ self }) => self),
    [undefined, undefined, undefined],
  );
});

copies('specialize: the original first, then copies, with any parameters', () => {
  const stacks: string[] = [];
  function makeSum(note: () => void, a: number, b: number): () => number {
    return function sum() {
      note();
      return a + b;
    };
  }
  const note = (): void => void stacks.push(String(new Error('made').stack));
  assert.equal([specialize(makeSum, note, 1, 2)(), specialize(makeSum, note, 3, 4)()], [3, 7]);
  assert.equal(
    stacks.map((stack) => stack.includes('copy:makeSum')),
    [false, true],
  );
  const { message } = expectError('BAD_OPTION', () => specialize(undefined as never));
  assert.is(message, 'The first parameter of specialize is undefined');
});

copies('a factory that uses its module shares its code, and works', () => {
  const outside = 5;
  function usesModule(_layout: null, own: number): () => number {
    return () => outside + own;
  }
  const closures = [1, 2, 3].map((own) => instantiate(usesModule, null, own));
  assert.equal(
    closures.map((closure) => closure()),
    [6, 7, 8],
  );
});

copies('a factory whose source is not there shares its code, and works', () => {
  const native = Math.max as unknown as (layout: null, ...rest: number[]) => number;
  assert.equal([instantiate(native, null, 3), instantiate(native, null, 4)], [3, 4]);
});

copies('a name that is declared in another part of the function only is foreign: shared, and works', () => {
  const { status, stdout, stderr } = runScript(`
    import { instantiate } from '${DIST}src/driver/instantiate.js';
    const a = (n) => n + 1;
    function make(layout, own) { function twice(a) { return 2 * a; } return function next() { return a(twice(own)); }; }
    console.log([1, 2].map((own) => instantiate(make, null, own)()).join());
  `);
  assert.is(status, 0, stderr);
  assert.is(stdout.trim(), '3,5');
});

for (const [what, hidden] of [
  ['empty', "''"],
  ['that of native code', "'function () { [native code] }'"],
  ['an expression of another kind', "'42'"],
  ['thrown', '(() => { throw new Error("no source") })()'],
] as const) {
  copies(`where Function.prototype.toString is replaced, its answer ${what}: shared, and works`, () => {
    const { status, stdout, stderr } = runScript(`
      import { instantiate } from '${DIST}src/driver/instantiate.js';
      Function.prototype.toString = () => ${hidden};
      function make(layout, own) { return function next() { return own + 1; }; }
      console.log([1, 2, 3].map((own) => instantiate(make, null, own)()).join());
    `);
    assert.is(status, 0, stderr);
    assert.is(stdout.trim(), '2,3,4');
  });
}

copies('where only bytecode is there: shared, and works', () => {
  const { status, stdout, stderr } = runScript(
    `
    import { Script } from 'node:vm';
    import { instantiate } from '${DIST}src/driver/instantiate.js';
    const source = '(function make(layout, trace) { return function made() { return trace(); }; })';
    const bytecode = new Script(source, { filename: 'code.js' }).createCachedData();
    // As the packers of bytecode do it: a text of the same length that says nothing.
    const blank = '"' + '\\u200b'.repeat(source.length - 2) + '"';
    const script = new Script(blank, { filename: 'code.js', cachedData: bytecode });
    const make = script.runInThisContext();
    const made = [1, 2].map(() => instantiate(make, null, () => new Error('made').stack)());
    console.log(script.cachedDataRejected, make.name, made.map((stack) => stack.includes('copy:')).join());
  `,
    ['--no-lazy', '--no-flush-bytecode'],
  );
  assert.is(status, 0, stderr);
  assert.is(stdout.trim(), 'false make false,false');
});

copies('works where strings may not be compiled by eval', () => {
  const { status, stdout, stderr } = runScript(
    `
    import { instantiate } from '${DIST}src/driver/instantiate.js';
    const make = function make(layout, trace) { return function made() { return trace().includes(layout); }; };
    const trace = () => new Error('made').stack;
    instantiate(make, 'first', trace);
    console.log(instantiate(make, 'copy:make', trace)());
  `,
    ['--disallow-code-generation-from-strings'],
  );
  assert.is(status, 0, stderr);
  assert.is(stdout.trim(), 'true');
});

copies.run();
