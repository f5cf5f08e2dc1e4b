/** Filters as programs of the kernel's: they take what `compileFilter` takes, on any frame. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { compileFilter, type Filter, parseFilter } from '../../../src/capture/filter/index.js';
import { redirectProgram } from '../../../src/driver/xdp/redirect-program.js';
import { NicError } from '../../../src/errors.js';
import { FRAMES, MATCHES } from '../../support/filter-samples.js';
import { suite } from '../../support/suite.js';
import { runProgram } from '../../support/xdp/bpf-machine.js';

const MAP_FD = 9;
const PASS = 2;

function takes(code: Uint8Array, frame: Uint8Array): boolean {
  const { result, redirected } = runProgram(code, frame, 3);
  if (redirected === undefined) {
    assert.is(result, PASS);
    return false;
  }
  assert.equal(redirected, { mapFd: MAP_FD, key: 3, otherwise: PASS });
  return true;
}

/** Every instruction is reached by some jump or from the one before: the verifier refuses others. */
function unreachable(code: Uint8Array): number[] {
  const view = new DataView(code.buffer, code.byteOffset, code.length);
  const seen = new Set<number>();
  const open = [0];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    if (seen.has(at)) continue;
    seen.add(at);
    const op = view.getUint8(8 * at);
    if (op === 0x18) seen.add(at + 1);
    if (op === 0x95) continue;
    const isJump = ((op & 7) === 5 && op !== 0x85) || (op & 7) === 6;
    if (isJump) open.push(at + 1 + view.getInt16(8 * at + 2, true));
    if (op !== 0x05) open.push(at + (op === 0x18 ? 2 : 1));
  }
  return Array.from({ length: code.length / 8 }, (_, i) => i).filter((i) => !seen.has(i));
}

const programs = suite('AF_XDP, filters as programs');

programs("without a filter every frame goes to the queue's socket", () => {
  for (const frame of Object.values(FRAMES)) assert.ok(takes(redirectProgram(MAP_FD), frame));
});

for (const [text, names] of MATCHES) {
  programs(text, () => {
    const code = redirectProgram(MAP_FD, parseFilter(text));
    const taken = Object.entries(FRAMES).filter(([, frame]) => takes(code, frame));
    assert.is(taken.map(([name]) => name).join(' '), names);
    assert.equal(unreachable(code), []);
  });
}

/** A frame of the samples with some bytes changed, cut anywhere. */
const frames = fc
  .tuple(
    fc.constantFrom(...Object.values(FRAMES)),
    fc.array(fc.tuple(fc.nat(59), fc.nat(255)), { maxLength: 3 }),
    fc.nat(70),
  )
  .map(([sample, changes, cut]) => {
    const frame = Uint8Array.from(sample);
    for (const [at, value] of changes) if (at < frame.length) frame[at] = value;
    return frame.subarray(0, cut < 20 ? cut * 3 : undefined);
  });

const filters = fc
  .array(fc.tuple(fc.constantFrom(...MATCHES), fc.constantFrom(' and ', ' or ', ' and not ', ' or not ')), {
    minLength: 1,
    maxLength: 6,
  })
  .map((parts) => parts.map(([[text], joint], i) => `${i === 0 ? '' : joint}(${text})`).join(''))
  .filter((text) => isFilter(text));

function isFilter(text: string): boolean {
  try {
    return parseFilter(text) !== undefined;
  } catch (error) {
    if (error instanceof NicError) return false;
    throw error;
  }
}

programs('any filter on any frame: as compileFilter, and nothing outside of the frame is loaded', () => {
  fc.assert(
    fc.property(filters, fc.array(frames, { minLength: 1, maxLength: 8 }), (text, list) => {
      const tree: Filter = parseFilter(text);
      const code = redirectProgram(MAP_FD, tree);
      const wanted = compileFilter(tree);
      for (const frame of list)
        assert.is(takes(code, frame), wanted(frame, 0, frame.length, frame.length), text);
      assert.equal(unreachable(code), []);
    }),
    { numRuns: 1500 },
  );
});

programs('lengths that no frame has', () => {
  for (const [text, taken] of [
    ['greater 70000', false],
    ['less 70000', true],
    ['less 65535', true],
    ['greater 0', true],
    ['less 20', false],
  ] as const) {
    assert.is(takes(redirectProgram(MAP_FD, parseFilter(text)), FRAMES.udp!), taken, text);
  }
});

programs.run();
