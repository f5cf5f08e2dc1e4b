/** Names in a description that get in each other's way are refused before anything is opened or made. */
import { execFileSync } from 'node:child_process';
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import * as assert from 'uvu/assert';
import { checkPaths } from '../../../src/emulator/links/paths.js';
import {
  buildEmulator,
  type EmulatorDescription,
  type EndDescription,
} from '../../../src/emulator/topology.js';
import { NicError } from '../../../src/errors.js';
import { suite } from '../../support/suite.js';

const directory = mkdtempSync(join(tmpdir(), 'barewire-paths-'));
const at = (...names: string[]): string => join(directory, ...names);
const paths = suite('paths of a description');

writeFileSync(at('played.pcap'), 'a capture');
linkSync(at('played.pcap'), at('hard.pcap'));
symlinkSync('played.pcap', at('symbolic.pcap'));
symlinkSync('new.pcap', at('dangling.pcap'));
symlinkSync('loop.pcap', at('loop.pcap'));
mkdirSync(at('folder'));
symlinkSync('folder', at('alias'));
execFileSync('mkfifo', [at('pipe')]);

/** A NIC for each end, and a link between the two. */
function describe(
  ends: readonly EndDescription[],
  more: { captures?: readonly string[]; sockets?: readonly string[]; overwrite?: boolean } = {},
): EmulatorDescription {
  const sockets = more.sockets ?? ends.map((_, i) => at(`${i}.sock`));
  return {
    nics: sockets.map((path) => ({ path })),
    links: ends.map((end, nic) => {
      const capture = more.captures?.[nic];
      return { ends: [{ nic }, end] as const, ...(capture === undefined ? {} : { capture }) };
    }),
    ...(more.overwrite === undefined ? {} : { overwrite: more.overwrite }),
  };
}

const sink: EndDescription = { sink: true };
const relativeTo = (name: string): string => relative(process.cwd(), at(name));

for (const [what, description, says] of [
  [
    'two recordings',
    describe([{ record: at('x.pcap') }, { record: at('x.pcap') }]),
    'port 0 and port 1 have one file',
  ],
  [
    'a relative path',
    describe([{ record: at('x.pcap') }, { record: relativeTo('x.pcap') }]),
    'which are the same',
  ],
  [
    'a dangling link',
    describe([{ record: at('new.pcap') }, { record: at('dangling.pcap') }]),
    'which are the same',
  ],
  [
    'a folder by two names',
    describe([{ record: at('folder', 'x') }, { record: at('alias', 'x') }]),
    'which are the same',
  ],
  ['two recordings in a pipe', describe([{ record: at('pipe') }, { record: at('pipe') }]), 'have one file'],
  [
    'two captures',
    describe([sink, sink], { captures: [at('c'), at('c')] }),
    'the capture of link 0 and the capture of link 1',
  ],
  [
    'a capture and a recording',
    describe([{ record: at('c') }], { captures: [at('c')] }),
    'port 0 and the capture of link 0',
  ],
  [
    'a capture over what is played',
    describe([{ play: at('played.pcap') }], { captures: [at('played.pcap')], overwrite: true }),
    'is played by port 0 and written by the capture of link 0',
  ],
  [
    'over a hard link to it',
    describe([{ play: at('played.pcap') }, { record: at('hard.pcap') }], { overwrite: true }),
    'is played by port 0 and written by port 1',
  ],
  [
    'over a symbolic link to it',
    describe([{ record: at('symbolic.pcap') }, { play: at('played.pcap') }], { overwrite: true }),
    'is played by port 1 and written by port 0',
  ],
  [
    'two sockets',
    describe([sink, sink], { sockets: [at('s'), at('s')] }),
    'port 0 and port 1 have one socket',
  ],
  ["a stream at a NIC's socket", describe([{ stream: at('0.sock') }]), 'have one socket'],
  ['two streams', describe([{ stream: at('q') }, { stream: at('q') }]), 'have one socket'],
  ['a recording at a socket', describe([{ record: at('0.sock') }]), 'have one file'],
  ['one interface', describe([{ tap: 'bw7' }, { tap: 'bw7' }]), 'have one TAP interface: bw7'],
  ['a file that is there', describe([{ record: at('hard.pcap') }]), 'it exists and has 9 bytes'],
  ['links in a circle', describe([{ record: at('loop.pcap') }]), 'its symbolic links go in a circle'],
  ['a folder', describe([sink], { captures: [at('folder')] }), 'it is a directory'],
] as const) {
  paths(`${what}: refused, and nothing was made`, async () => {
    const before = readdirSync(directory);
    try {
      await buildEmulator(description);
      assert.unreachable('it was taken');
    } catch (error) {
      assert.instance(error, NicError);
      assert.is((error as NicError).code, 'BAD_OPTION');
      assert.match((error as NicError).message, says);
      assert.ok((error as NicError).hint);
    }
    assert.equal(readdirSync(directory), before);
    assert.is(readFileSync(at('played.pcap'), 'utf8'), 'a capture');
  });
}

paths('what does not get in the way', () => {
  checkPaths(describe([{ play: at('played.pcap') }, { play: at('hard.pcap') }]));
  checkPaths(
    describe([{ record: at('x0.pcap') }, { record: at('x1.pcap') }], { captures: [at('c0'), at('c1')] }),
  );
  checkPaths(describe([{ record: '/dev/null' }, { record: '/dev/null' }]));
  checkPaths(describe([{ tap: 'bw%d' }, { tap: 'bw%d' }]));
  checkPaths(describe([{ record: at('hard.pcap') }], { overwrite: true }));
  checkPaths(
    describe([
      { stream: at('q'), connect: true },
      { stream: at('q'), connect: true },
    ]),
  );
});

paths.after(() => rmSync(directory, { recursive: true }));
paths.run();
