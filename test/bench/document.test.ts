import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { RESULT_FILE, ROOT } from '../../bench/paths.js';
import { CHARTS } from '../../bench/report/charts.js';
import { fillDocument } from '../../bench/report/document.js';
import { parseResult } from '../../bench/report/parse.js';
import { SECTIONS } from '../../bench/report/tables.js';
import { suite } from '../support/suite.js';
import { RESULT } from './results.js';

const document = suite('fillDocument');

const TEXT = 'before\n\n<!-- generated: copy -->\nold\n<!-- end -->\n\nafter\n';

document('replaces what is between the markers, and nothing else', () => {
  const filled = fillDocument(TEXT, RESULT);
  assert.ok(filled.startsWith('before\n\n<!-- generated: copy -->\n\n| frame, bytes |'));
  assert.ok(filled.endsWith('<!-- end -->\n\nafter\n'));
  assert.not.match(filled, 'old');
  assert.is(fillDocument(filled, RESULT), filled, 'a second time changes nothing');
});

document('markers without a partner and unknown sections are errors', () => {
  assert.throws(() => fillDocument('<!-- generated: copy -->\n', RESULT), /a marker has no partner/);
  assert.throws(() => fillDocument('<!-- end -->\n', RESULT), /a marker has no partner/);
  assert.throws(() => fillDocument(`<!-- generated: core -->\n${TEXT}`, RESULT), /section core has no end/);
  assert.throws(() => fillDocument(TEXT.replace('copy', 'poem'), RESULT), /nothing generates a section poem/);
});

document.run();

const sections = suite('sections');

const expected: Readonly<Record<string, RegExp[]>> = {
  machine: [
    /Processor <1> & more, 4 cores, virtual machine/,
    /\| date \| 2026-01-02 \|/,
    /\| date of what one would use instead \| 2026-02-03 \|/,
    /Linux 6\.1\.2/,
    /v20\.1\.0, v24\.1\.0/,
    /2026-01-02 \|/,
  ],
  core: [
    /charts\/batch\.svg/,
    /\| 32 \| 15\.0 \| 14\.3 \| 13\.5 \| 12\.0 \| 4\.50 \| 3\.00 \| 0\.81 \| 0\.31 \|/,
    /medians of 25 rounds \(quartiles 2 % apart, mostly\), 1,234,567 packets checked, without hugepages, load at the start 0\.250/,
  ],
  ratios: [/\| v24\.1\.0 \| 0\.81 \| 0\.31 \| 0\.81 \| 0\.84 \| 1\.51 \|/],
  steadiness: [/charts\/gaps\.svg/, /\| v24\.1\.0, general \| 100,000,000 \| 0 \| 0 \| 200 ns \|/],
  alternatives: [
    /emulated 82599 \| 64 \| 20\.0 \| 1\.23 M \| source \| 0 \| 0 \|/,
    /node:dgram on veth: not measured, no program unshare\./,
  ],
  counts: [/forwarded 3: two to receive, and one by the kernel to send/],
  emulated: [/\| 64 \| 1\.23 M \| 95 % \| 1\.50 \| 90 % \| 12 % \| emulator \|/],
  summary: [
    /- Node v24\.1\.0: C 10\.0 ns, Barewire's general path 8\.00 ns \(0\.80 times\), its pipe 3\.00 ns \(0\.30 times\)/,
    /\| Barewire, pipe, lockstep device \| 5\.00 \| 0 \| 0 \|/,
  ],
  copy: [/\| 64 \| 10\.0 \| 25\.0 \| 15\.0 \| 2\.50 \|/],
  interfaces: [
    /Processor <1> & more, Linux 6\.1\.2, Node\.js v24\.1\.0/,
    /\| AF_XDP in C, the same system calls \| 64 \| 100 \| {2}\| 10\.0 M \| 2 \| 0\.031 \|/,
    /copy mode \| 64 \| 115 \| 1\.15 \| 8\.70 M \| 2 \| 0\.031 \|/,
  ],
};

for (const [name, generate] of Object.entries(SECTIONS)) {
  sections(`${name}: its figures`, () => {
    const text = generate(RESULT);
    assert.ok(expected[name] !== undefined, 'the test knows the section');
    for (const pattern of expected[name]) assert.match(text, pattern);
    // A row has as many cells as the header of its table.
    for (const block of text.split('\n\n').filter((part) => part.startsWith('|'))) {
      const widths = block.split('\n').map((line) => line.split('|').length);
      assert.is(new Set(widths).size, 1, block);
    }
  });
}

sections('rows of a disturbed machine are marked', () => {
  const alternatives = RESULT.alternatives!.map((row) => ({ ...row, forwarderWaited: 0.3 }));
  const text = SECTIONS.alternatives!({ ...RESULT, alternatives });
  assert.match(text, /1\.23 M \*/);
  assert.match(text, /the machine was not quiet/);
  assert.not.match(SECTIONS.alternatives!(RESULT), /not quiet/);
});

sections('without data a sentence says so', () => {
  const { core: _, alternatives: __, ...empty } = RESULT;
  for (const name of [
    'core',
    'ratios',
    'steadiness',
    'alternatives',
    'emulated',
    'copy',
    'interfaces',
    'summary',
  ]) {
    assert.is(SECTIONS[name]!(empty), 'Not measured in this run.');
  }
});

sections.run();

const page = suite('generated documents');

page('have the figures of the committed result, and so have the charts', () => {
  const result = parseResult(readFileSync(RESULT_FILE, 'utf8'));
  for (const file of ['docs/performance.md', 'docs/xdp.md', 'README.md']) {
    const text = readFileSync(join(ROOT, file), 'utf8');
    assert.is(text, fillDocument(text, result), 'run "npm run bench:report"');
  }
  for (const [name, draw] of Object.entries(CHARTS)) {
    const file = join(ROOT, 'docs', 'charts', `${name}.svg`);
    const drawn = existsSync(file) ? readFileSync(file, 'utf8') : undefined;
    assert.ok(drawn === draw(result), `${name}.svg: run "npm run bench:report"`);
  }
});

page.run();
