/** Nothing is allocated for a frame that is captured, or read. */
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { runNode } from '../support/child.js';
import { suite } from '../support/suite.js';

const SCRIPT = fileURLToPath(new URL('./hot-path.js', import.meta.url));
const PACKETS = 2_000_000;
/**
 * Scavenges of 1 MiB each. A time is a number object for each batch, a window of the file and a packed load some objects. The smallest object for
 * each frame, a number of 16 bytes, would cause 30.
 */
const FEW = 10;

function scavenges(kind: 'product' | 'control', path: string): number {
  // A compiler in a thread of its own comes late on a busy machine, and code that waits for it allocates.
  const flags = [
    '--no-concurrent-recompilation',
    '--expose-gc',
    '--max-semi-space-size=1',
    '--min-semi-space-size=1',
  ];
  const { status, stdout, stderr } = runNode([...flags, SCRIPT, kind, path, String(PACKETS)]);
  assert.is(status, 0, stderr);
  const result = JSON.parse(stdout) as { scavenges: number; written: number; found: number };
  assert.ok(result.written > PACKETS || result.found >= PACKETS, stdout);
  return result.scavenges;
}

const allocation = suite('captures: allocation');

for (const path of ['pcapng', 'pcap', 'packed', 'long', 'read']) {
  allocation(`${path}: ${PACKETS} frames`, () => {
    const count = scavenges('product', path);
    assert.ok(count <= FEW, `${count} scavenges`);
  });
}

allocation('one object for each frame is found out', () => {
  assert.ok(scavenges('control', 'pcapng') > 2 * FEW);
});

allocation.run();
