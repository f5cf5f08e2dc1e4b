/** `barewire/emulator` as people's own tests use it: the example in its header, run. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import * as emulatorApi from '../../src/emulator/index.js';
import { open } from '../../src/index.js';
import { HANG_MS } from '../support/hang.js';
import { suite } from '../support/suite.js';

const entry = suite('barewire/emulator');

entry('two drivers on two emulated NICs, joined', async () => {
  const { startEmulator } = emulatorApi;
  const folder = mkdtempSync(join(tmpdir(), 'barewire-entry-'));
  const paths = ['a', 'b'].map((name) => join(folder, `${name}.sock`));
  await using emulator = await startEmulator({
    nics: paths.map((path) => ({ path })),
    links: [{ ends: [{ nic: 0 }, { nic: 1 }] }],
  });
  const sent = Uint8Array.from({ length: 100 }, (_, i) => (i < 6 ? 0xff : i));
  const received: Uint8Array[] = [];
  {
    await using a = await open(`vfio-user:${paths[0]}`);
    await using b = await open(`vfio-user:${paths[1]}`, { promiscuous: true });
    const signal = AbortSignal.timeout(HANG_MS);
    await Promise.all([a.waitForLink({ signal }), b.waitForLink({ signal })]);
    await a.sendFrame(sent);
    for await (const frame of b.frames({ signal })) {
      received.push(frame);
      break;
    }
  }
  assert.equal(received, [sent]);
  const { nics } = await emulator.report();
  assert.equal(
    nics.map((nic) => [nic.violations, nic.faults]),
    [
      [[], []],
      [[], []],
    ],
  );
  rmSync(folder, { recursive: true });
});

entry('exports no family of models', () => {
  assert.type(emulatorApi.buildEmulator, 'function');
  assert.equal(
    Object.keys(emulatorApi).filter((name) => /ixgbe|82599/i.test(name)),
    [],
  );
});

entry.run();
