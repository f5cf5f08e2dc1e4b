/**
 * Which names a function takes from around it, checked against V8: it keeps a variable for a function that is in the
 * variable's scope only where the function uses it, and the inspector shows what it keeps.
 */
import { type Runtime, Session } from 'node:inspector';
import { Script } from 'node:vm';
import * as assert from 'uvu/assert';
import { foreignNames } from '../../src/driver/foreign-names.js';
import { makeForward } from '../../src/driver/intel/forward-loop.js';
import { makePipe } from '../../src/driver/intel/pipe-loop.js';
import { makeReceive } from '../../src/driver/intel/rx-loop.js';
import { makeReclaim, makeSend } from '../../src/driver/intel/tx-loop.js';
import { random } from '../../src/emulator/links/random.js';
import { makeGeneral } from '../../src/forward/general-loop.js';
import { suite } from '../support/suite.js';

const FACTORIES = [makeReceive, makeReclaim, makeSend, makeForward, makePipe, makeGeneral];

const names = suite('foreign names');

for (const [text, foreign] of [
  ['function f(a, { b, c: d }) { return a + b + d; }', []],
  ['function f(a) { const x = a.length; return { a, x }; }', []],
  ['function f(a) { for (let i = 0, n = a; i < n; i++) g(i); function g(j) { return j; } }', []],
  ['function f(a) { return b => a + b; }', []],
  ['function f(a) { try { a(); } catch (e) { return e; } return `x`; }', []],
  ['function f() { return \'outside\' + "helper"; } // comment outside', []],
  ['function f(a){var{b:c,d}=a,e=1,g;for(var h=0,i=c;h<i;h++)e+=d;return(j)=>e+j+g}', []],
  ['function f(a) { const [b, , c = 2] = a; return (d, e = b) => c + d + e; }', []],
  ['function f(a, ...b) { let c; outer: for (const d of b) { c = d; break outer; } return c; }', []],
  ['function f(a) { return a ? function g(n) { return g(n - 1); } : (b) => b / 2; }', []],
  ["function f(a) { return a['it\\'s'] /* ' */ + 'b'; }", []],
  ['function f(a) {\n  const b = a\n  let c = 1\n  return b + c\n}', []],
  // Names of the module, of a bundler, of a coverage tool.
  ['function f(a) { return helper(a); }', ['helper']],
  ['function f(a) { return a ? LIMIT : 0; }', ['LIMIT']],
  ['function f(a) { return a(1, LIMIT); }', ['LIMIT']],
  ['function f(a) { return { a, LIMIT }; }', ['LIMIT']],
  ['function f(a) { switch (a) { case a, LIMIT: return 1; } }', ['LIMIT']],
  ['function f(a) { return use(a) + of; }', ['use', 'of']],
  ['function f() { cov_1x2y().s[0]++; return 1; }', ['cov_1x2y']],
  ['function f() { return /* @__PURE__ */ __name(function g() {}, "g"); }', ['__name']],
  ['function f(a) { return __spreadValues({}, a); }', ['__spreadValues']],
  // Declared, but not where they are used: minifiers give one name to several things.
  ['function f(a){function b(c){return c}return function(d){return c(b(d))}}', ['c']],
  ['function f(a) { { let b = a; } return b; }', ['b']],
  ['function f(a) { for (const b of a) a(b); return b; }', ['b']],
  ['function f(a){for(let b of a)if(b){a(b)}b()}', ['b']],
  ['function f(a) { for (let b of a) break\n  b()\n}', ['b']],
  ['function f(a) { const b = (c) => c + a; return c; }', ['c']],
  ['function f(a) { const b = c => c\n  c(), d()\n  return b }', ['c', 'd']],
  ['function f(a) { const b = a++\n  a, c\n  return b }', ['c']],
  ['function f(a) { try { a(); } catch (b) {} return b; }', ['b']],
  ['function f(a) { for (const b in a, c) c(b); }', ['c']],
  ['function f(a) { for (const b of of(a)) a(b); }', ['of']],
  ['function f(a) { const g = function h() { return a; }; return h; }', ['h']],
  ['function f({ a: b }) { return a + b; }', ['a']],
  ['function f(a) { return a ? b\n  : a; }', ['b']],
  // Not understood.
  ['function f(a) { return /"/.test(a) + "b"; }', ['/']],
  ['function f(a) { if (a) /"/.test(b) + "c"; }', ['/']],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the source text of one
  ['function f(a) { return `${helper(a)}`; }', ['`']],
  ['function f(a) { return é(a); }', ['é']],
  ['function f(a) { return a<!--b\n; }', ['<!--']],
  ['function f(a) { return a.#b; }', ['#']],
  ['class A { constructor(b) { this.b = b; } }', ['class', 'A', 'constructor', 'b']],
  ['native code', ['native', 'code']],
  ['function max() { [native code] }', ['native', 'code']],
  ['(a', ['(']],
  ['a)', [')']],
] as const) {
  names(`${JSON.stringify(text)}: ${foreign.join(', ') || 'none'}`, () => {
    assert.equal(foreignNames(text), foreign);
  });
}

for (const factory of FACTORIES) {
  names(`${factory.name} uses nothing of its module`, () => {
    assert.equal(foreignNames(factory.toString()), []);
  });
}

names.run();

/** Words that cannot be parameters of a strict function, and those that are global: they may be used. */
const NO_PARAMETERS = new Set(
  (
    'arguments await break case catch class const continue debugger default delete do else enum eval export extends false ' +
    'finally for function if implements import in instanceof interface let new null package private protected public return ' +
    'static super switch this throw true try typeof var void while with yield ' +
    'undefined Infinity NaN Math Atomics Uint32Array Int32Array'
  ).split(' '),
);

/** What V8 says of a function's source. */
class Engine {
  readonly #session = new Session();

  constructor() {
    this.#session.connect();
  }

  close(): void {
    this.#session.disconnect();
  }

  /** @throws SyntaxError where the text is no expression of strict code */
  foreignNames(text: string): string[] {
    const words = [...new Set(text.match(/[A-Za-z_$][\w$]*/g))].filter((word) => !NO_PARAMETERS.has(word));
    const source = `'use strict'; (function (${words.join()}) { return (${text}\n) })()`;
    new Script(source);
    const made = this.#evaluate(source);
    const scopes = this.#properties(made).internal?.find(({ name }) => name === '[[Scopes]]')?.value;
    assert.ok(scopes !== undefined, text);
    const innermost = this.#properties(scopes).own[0]?.value;
    // A function that uses none of the parameters has no scope but the global one.
    if (innermost?.description?.startsWith('Closure') !== true) return [];
    return this.#properties(innermost).own.map(({ name }) => name);
  }

  #evaluate(source: string): Runtime.RemoteObject {
    let made: Runtime.RemoteObject | undefined;
    // A session of this thread answers before `post` returns.
    this.#session.post('Runtime.evaluate', { expression: source }, (_error, { result }) => {
      made = result;
    });
    return made!;
  }

  #properties({ objectId }: Runtime.RemoteObject) {
    let answer: Runtime.GetPropertiesReturnType | undefined;
    const request = { objectId: objectId!, ownProperties: true };
    this.#session.post('Runtime.getProperties', request, (_error, found) => {
      answer = found as Runtime.GetPropertiesReturnType;
    });
    return { own: answer!.result, internal: answer!.internalProperties };
  }
}

/** Sources with each kind of declaration, some with semicolons and some without. */
const SAMPLES = [
  'function f(a){let b=a.x\nconst c=b+1,d={b,c:a}\nfor(const e of d)for(let g=0;g<e;g++)if(g)h(g);else h(e)\nfunction h(i){return i?j=>j+i:(k,l=i)=>{var m=k;return m+l}}\nreturn h(b)}',
  'function f({a,b:c,...d},[e,,g=a]=c){try{a()}catch({message:h}){return h}finally{d()}outer:for(const i in e){switch(i){case a:let j=1;break outer;default:continue}}return g?()=>c:function n(o){return n(o-1)}}',
  'function f(a){var b=1,c;do{c=a++\nb--}while(b>0)\nwhile(a)a--\nif(b){const d=c;return d}else return x=>x?a:b}',
  'a=>{const b=a\nlet c=b=>b\nreturn(d)=>{for(var e=0,g=c;e<g;e++)d(e);return e}}',
];
const INSERTED = ', ; \n { } ( ) => ? : ++ ... / ` = [ ] .'.split(/ /);
const INSERTED_WORDS = ['let ', 'var ', 'function ', 'of ', 'in ', 'return ', 'else ', 'case '];

/** The text with a few changes: names exchanged for others of it, ends of statements for ends of lines, parts repeated. */
function mutate(text: string, draw: (below: number) => number): string {
  const parts = text.match(/[A-Za-z_$][\w$]*|\d+|'[^']*'|=>|\.\.\.|[^\s\w]|\s+/g)!;
  const words = [...new Set(parts.filter((part) => /^[A-Za-z_$]/.test(part))), 'LIMIT'];
  const inserted = [...INSERTED, ...INSERTED_WORDS];
  for (let changes = 1 + draw(4); changes > 0; changes--) {
    const at = draw(parts.length);
    const what = draw(10);
    if (what < 6) {
      const name = parts.findIndex((part, i) => i >= at && /^[A-Za-z_$]/.test(part));
      if (name >= 0) parts[name] = words[draw(words.length)]!;
    } else if (what === 6) {
      if (parts[at] === ';' || parts[at] === ',') parts[at] = '\n';
    } else if (what === 7) {
      parts.splice(at, 1);
    } else if (what === 8) {
      parts.splice(at, 0, inserted[draw(inserted.length)]!);
    } else {
      const from = draw(parts.length);
      parts.splice(at, 0, ...parts.slice(from, from + 1 + draw(12)));
    }
  }
  return parts.join('');
}

const MUTANTS = 400;
const engine = suite('foreign names, as V8 sees them');

engine(`no function is copied that uses a name from around it: ${MUTANTS} mutants`, () => {
  const next = random(1);
  const draw = (below: number): number => Math.floor(next() * below);
  const v8 = new Engine();
  const texts = [...SAMPLES, ...FACTORIES.map((factory) => factory.toString())];
  let functions = 0;
  let foreign = 0;
  try {
    while (functions < MUTANTS) {
      const text = mutate(texts[draw(texts.length)]!, draw);
      let expected: string[];
      try {
        expected = v8.foreignNames(text);
      } catch (error) {
        assert.instance(error, SyntaxError);
        continue;
      }
      functions++;
      if (expected.length === 0) continue;
      foreign++;
      const found = foreignNames(text);
      // One is enough to share the code; a mark that is not understood is as good.
      assert.ok(found.length > 0, `${expected.join()} in ${text}`);
    }
  } finally {
    v8.close();
  }
  assert.ok(foreign > MUTANTS / 3, `${foreign} mutants use foreign names`);
});

engine.run();
