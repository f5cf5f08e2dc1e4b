/** What `fwd` says, and what it leaves behind, when something is wrong: before it runs and while it runs. */
import { readFileSync, writeFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { bindDriver, driverOf, freeHugepages, interfaceOf, nicAddresses, waitForCarrier } from '../guest.js';
import {
  attempt,
  type Background,
  type Outcome,
  type RunOptions,
  run,
  start,
  waitFor,
} from '../processes.js';
import { dutMac } from '../qemu.js';
import { suite } from '../suite.js';
import {
  ADDRESS_A,
  addNamespaces,
  assertPings,
  BAREWIRE,
  configWord,
  describeTotals,
  finalTotals,
  isBusMaster,
  note,
  startTraffic,
  writeConfigWord,
} from '../wire.js';

const [u0, u1, unsupported] = nicAddresses() as [string, string, string];
const addresses = [u0, u1];
/** A PCI function that is no NIC: QEMU's teaching device, in a group of its own. */
const notANic = run('bash', ['-c', 'grep -l 0x11e8 /sys/bus/pci/devices/*/device']).split('/')[5]!;

/** Offsets and bits of configuration space (PCI 3.0, 6.1 and 6.2.5.2). */
const COMMAND = 0x04;
const COMMAND_MEMORY = 2;
const ROM_ADDRESS = 0x30;
const ROM_ENABLE = 1;

function barewire(args: readonly string[], options: RunOptions = {}): Outcome {
  return attempt(process.execPath, [BAREWIRE, ...args], options);
}

/** A refusal: this status, nothing on standard output, one line that says what is wrong and one that helps. */
function assertRefused(outcome: Outcome, status: number, message: RegExp, hint?: RegExp): void {
  assert.is(outcome.stdout, '');
  const lines = outcome.stderr.trimEnd().split('\n');
  assert.match(lines[0]!, message);
  if (hint) assert.match(lines[1] ?? '', hint);
  assert.is(lines.length, hint ? 2 : 1, outcome.stderr);
  assert.is(outcome.status, status);
}

const started: Background[] = [];

async function startFwd(backend: string): Promise<Background> {
  const command = await startTraffic(['fwd', ...addresses], { env: { BAREWIRE_VFIO: backend } });
  started.push(command);
  return command;
}

/** A new forwarder works as the one before did. Where pings are lost its totals say on which way. */
async function assertCarries(backend: string): Promise<void> {
  const command = await startFwd(backend);
  let lost: unknown;
  try {
    assertPings(20);
  } catch (error) {
    lost = error;
  }
  const outcome = await command.stop();
  assert.is(lost, undefined, `${lost}${describeTotals(finalTotals(outcome))}`);
  assert.is(outcome.status, 0, outcome.stderr);
}

/** After each test: what a failed one left running would hold the devices against all later ones. */
async function endAll(): Promise<void> {
  for (const command of started.splice(0)) {
    command.kill('SIGKILL');
    await command.ended;
  }
}

addNamespaces();

const bind = suite('bind and unbind');

bind('refuses an interface that is in use, and takes it with --force', async () => {
  const name = interfaceOf(u0)!;
  run('ip', ['link', 'set', name, 'up']);
  run('ip', ['address', 'add', '10.0.0.3/24', 'dev', name, 'nodad']);
  await waitForCarrier(name);
  assertRefused(
    barewire(['bind', u0]),
    1,
    new RegExp(`${u0}.*${name} is up with address 10\\.0\\.0\\.3`),
    /--force/,
  );
  run('ip', ['route', 'add', 'default', 'via', ADDRESS_A]);
  assertRefused(barewire(['bind', u0]), 1, new RegExp(`${name} carries the IPv4 default route`), /--force/);
  assert.is(driverOf(u0), 'igb');
  const forced = barewire(['bind', '--force', u0]);
  assert.is(forced.status, 0, forced.stderr);
  assert.is(driverOf(u0), 'vfio-pci');
});

bind('gives the port back to igb, which then pings', async () => {
  const outcome = barewire(['unbind', u0]);
  assert.is(outcome.status, 0, outcome.stderr);
  assert.match(outcome.stdout, /given back to igb/);
  const name = await waitFor('the interface', () => interfaceOf(u0));
  run('ip', ['address', 'add', '10.0.0.3/24', 'dev', name, 'nodad']);
  run('ip', ['link', 'set', name, 'up']);
  await waitForCarrier(name);
  assertPings(20, '10.0.0.3');
  const neighbour = run('ip', ['neighbour', 'show', '10.0.0.3'], { netns: 'A' });
  assert.match(neighbour, dutMac(0), 'the NIC itself answered');
  run('ip', ['link', 'set', name, 'down']);
});

bind.run();

const refused = suite('fwd refuses');
refused.after.each(endAll);

refused('a device that a kernel driver has', () => {
  assertRefused(
    barewire(['fwd', u0, u1]),
    1,
    new RegExp(`${u0} is bound to the driver igb`),
    /barewire bind/,
  );
});

refused('what is no address, and what is given twice: wrong use', () => {
  for (const address of addresses) bindDriver(address, 'vfio-pci');
  assertRefused(
    barewire(['fwd', u0, 'not-an-interface']),
    2,
    /"not-an-interface" is not a device address/,
    /./,
  );
  assertRefused(barewire(['fwd', u0, u0]), 2, /given twice/, /each port once/);
  assertRefused(barewire(['fwd', u0, u0.slice(5)]), 2, /given twice/, /each port once/);
});

refused('an address where nothing is, and closes the port that it had opened', () => {
  assertRefused(barewire(['fwd', u0, '0000:7f:1f.7']), 1, /no PCI device 0000:7f:1f\.7/, /barewire list/);
  assert.is(isBusMaster(u0), false);
});

refused('a device that is no NIC', () => {
  assertRefused(barewire(['bind', notANic]), 1, new RegExp(`${notANic}.*not a network`), /./);
  bindDriver(notANic, 'vfio-pci');
  for (const backend of ['group', 'cdev']) {
    const outcome = barewire(['fwd', u0, notANic], { env: { BAREWIRE_VFIO: backend } });
    assertRefused(
      outcome,
      1,
      new RegExp(`${notANic} \\(1234:11e8\\) is not a network controller`),
      /barewire list/,
    );
  }
});

refused('a NIC that it has no driver for, and lists those it has', () => {
  bindDriver(unsupported, 'vfio-pci');
  const outcome = barewire(['fwd', u0, unsupported]);
  assertRefused(outcome, 1, /No driver for .* \(15ad:07b0\)/, /Supported: .*Intel 82576 \(8086:10c9\)/);
  note(outcome.stderr.trim().split('\n').at(-1)!);
});

for (const backend of ['group', 'cdev']) {
  refused(`a device that another process has open, and names the process (${backend})`, async () => {
    const first = await startFwd(backend);
    const outcome = barewire(['fwd', ...addresses], { env: { BAREWIRE_VFIO: backend } });
    assertRefused(outcome, 1, new RegExp(`${u0}.* is in use by \\S+ \\(pid ${first.pid}\\)`), /./);
    assertPings(5);
    assert.is((await first.stop()).status, 0);
  });
}

refused.run();

for (const backend of ['group', 'cdev']) {
  const lost = suite(`fwd, ${backend}: device lost`);
  lost.after.each(endAll);

  lost('after SIGKILL nothing is left: hugepages, bus mastering, the devices', async () => {
    const before = freeHugepages();
    const command = await startFwd(backend);
    assertPings(5);
    assert.ok(freeHugepages() < before);
    assert.equal(addresses.map(isBusMaster), [true, true]);
    await command.stop('SIGKILL');
    assert.is(freeHugepages(), before);
    assert.equal(addresses.map(isBusMaster), [false, false]);
    await assertCarries(backend);
  });

  lost('registers that read all ones end it with status 1', async () => {
    const command = await startFwd(backend);
    assertPings(5);
    const restore = answerWithOnes(u1);
    try {
      const outcome = await command.ended;
      assert.is(outcome.status, 1, outcome.stderr);
      assert.match(outcome.stderr, new RegExp(`^barewire: ${u1} does not answer: \\S+ reads all ones`, 'm'));
      note(outcome.stderr.trim());
    } finally {
      command.kill('SIGKILL');
      restore();
    }
    await assertCarries(backend);
  });

  lost('a device that is removed ends it with status 1, and works after a rescan', async () => {
    const command = await startFwd(backend);
    assertPings(5);
    // Returns when VFIO has the device back.
    const remove = start('bash', ['-c', `echo 1 > /sys/bus/pci/devices/${u1}/remove`]);
    const outcome = await command.ended;
    assert.is(outcome.status, 1, outcome.stderr);
    assert.match(outcome.stderr, new RegExp(`^barewire: ${u1} is lost: the kernel asks for it back`, 'm'));
    note(outcome.stderr.trim());
    assert.is((await remove.ended).status, 0);
    writeFileSync('/sys/bus/pci/rescan', '1');
    await waitFor('the device', () => driverOf(u1) !== undefined);
    bindDriver(u1, 'vfio-pci');
    await assertCarries(backend);
  });

  lost.run();
}

/**
 * Lets each load from BAR 0 of a NIC be answered with all ones, as on real buses by nobody. QEMU's empty bus answers with
 * zeros, so the root port stops to pass memory accesses on, and a ROM full of ones takes the BAR's place.
 */
function answerWithOnes(address: string): () => void {
  const bar = Number(readFileSync(`/sys/bus/pci/devices/${address}/resource`, 'utf8').split(' ')[0]);
  const port = rootPort(address);
  const saved = [
    { device: port, offset: COMMAND },
    { device: notANic, offset: COMMAND },
    { device: notANic, offset: ROM_ADDRESS },
    { device: notANic, offset: ROM_ADDRESS + 2 },
  ].map((word) => ({ ...word, value: configWord(word.device, word.offset) }));
  writeConfigWord(port, COMMAND, saved[0]!.value & ~COMMAND_MEMORY);
  writeConfigWord(notANic, ROM_ADDRESS + 2, bar >>> 16);
  writeConfigWord(notANic, ROM_ADDRESS, (bar & 0xffff) | ROM_ENABLE);
  writeConfigWord(notANic, COMMAND, COMMAND_MEMORY);
  return () => {
    for (const { device, offset, value } of saved.toReversed()) writeConfigWord(device, offset, value);
  };
}

/** The bridge that the function is behind. */
function rootPort(address: string): string {
  return run('readlink', ['-f', `/sys/bus/pci/devices/${address}`])
    .trim()
    .split('/')
    .at(-2)!;
}
