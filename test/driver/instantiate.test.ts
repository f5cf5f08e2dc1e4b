import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { foreignNames, instantiate } from '../../src/driver/instantiate.js';
import { makeForward } from '../../src/driver/intel/forward-loop.js';
import { makePipe } from '../../src/driver/intel/pipe-loop.js';
import { makeReceive } from '../../src/driver/intel/rx-loop.js';
import { makeReclaim, makeSend } from '../../src/driver/intel/tx-loop.js';
import { makeGeneral } from '../../src/forward/general-loop.js';
import { DIST, runScript } from '../support/child.js';

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

for (const [text, foreign] of [
  ['function f(a, { b, c: d }) { return a + b + d; }', []],
  ['function f(a) { const x = a.length; return { a, x }; }', []],
  ['function f(a) { for (let i = 0, n = a; i < n; i++) g(i); function g(j) { return j; } }', []],
  ['function f(a) { return b => a + b; }', []],
  ['function f(a) { try { a(); } catch (e) { return e; } return `x`; }', []],
  ['function f() { return \'outside\' + "helper"; } // comment outside', []],
  ['function f(a) { return helper(a); }', ['helper']],
  ['function f() { cov_1x2y().s[0]++; return 1; }', ['cov_1x2y']],
  ['function f() { return /* @__PURE__ */ __name(function g() {}, "g"); }', ['__name']],
  ['function f(a) { return __spreadValues({}, a); }', ['__spreadValues']],
  ['function f(a) { return a ? LIMIT : 0; }', ['LIMIT']],
  ['function f(a) { return a(1, LIMIT); }', ['LIMIT']],
  ['function f(a) { return { a, LIMIT }; }', ['LIMIT']],
  ['function f(a){var{b:c,d}=a,e=1,g;for(var h=0,i=c;h<i;h++)e+=d;return(j)=>e+j+g}', []],
  ['function f(a) { const [b, , c = 2] = a; return (d, e = b) => c + d + e; }', []],
  ['function f(a, ...b) { let c; outer: for (const d of b) { c = d; break outer; } return c; }', []],
] as const) {
  copies(`names that are not the function's own: ${text}`, () => {
    assert.equal(foreignNames(text), foreign);
  });
}

for (const factory of [makeReceive, makeReclaim, makeSend, makeForward, makePipe, makeGeneral]) {
  copies(`${factory.name} uses nothing of its module`, () => {
    assert.equal(foreignNames(factory.toString()), []);
  });
}

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
