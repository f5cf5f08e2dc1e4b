/** The emulator as a child: what each side does when the other dies at the worst moment. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { NetStats } from '../../src/driver/device.js';
import { open } from '../../src/driver/registry.js';
import { NicError } from '../../src/errors.js';
import { connectVfioUser } from '../../src/vfio/user/client.js';
import { EmulatedPorts, trafficLine } from '../../tools/emulated-ports.js';
import { children, DIST, processStatus, runScript } from '../support/child.js';
import { HANG_MS } from '../support/hang.js';
import { suite } from '../support/suite.js';

interface Rig {
  readonly ports: EmulatedPorts;
  readonly emulator: number;
  /** Where the emulator makes its folder of sockets. */
  readonly folder: string;
}

function withPorts(body: (rig: Rig) => Promise<void>): () => Promise<void> {
  return async () => {
    const folder = mkdtempSync(join(tmpdir(), 'bw-ports-'));
    const before = process.env.XDG_RUNTIME_DIR;
    process.env.XDG_RUNTIME_DIR = folder;
    const others = children(process.pid);
    const ports = await EmulatedPorts.start(['--lossless']);
    if (before === undefined) delete process.env.XDG_RUNTIME_DIR;
    else process.env.XDG_RUNTIME_DIR = before;
    const [emulator] = children(process.pid).filter((pid) => !others.includes(pid));
    try {
      await body({ ports, emulator: emulator!, folder });
    } finally {
      await ports.close();
      rmSync(folder, { recursive: true, force: true });
    }
  };
}

/** Waits without the event loop: the process is dead, and its parent has not been told. */
function killUnnoticed(pid: number): void {
  process.kill(pid, 'SIGKILL');
  const deadline = performance.now() + HANG_MS;
  while (processStatus(pid)?.state !== 'Z') {
    if (performance.now() > deadline) throw new Error(`${pid} does not die`);
  }
}

async function expectGone(promise: Promise<unknown>): Promise<void> {
  try {
    await promise;
  } catch (error) {
    assert.instance(error, NicError);
    assert.is((error as NicError).code, 'PEER_GONE');
    return;
  }
  assert.unreachable('the emulator is gone');
}

const emulatedPorts = suite('emulated ports');

emulatedPorts(
  'close ends the emulator, and its sockets are gone',
  withPorts(async ({ ports, emulator, folder }) => {
    assert.is(ports.addresses.length, 2);
    for (const address of ports.addresses) assert.ok(existsSync(address.slice('vfio-user:'.length)), address);
    await ports.close();
    assert.is(processStatus(emulator), undefined);
    assert.equal(readdirSync(folder), []);
  }),
);

emulatedPorts(
  'close, when the emulator has died unnoticed',
  withPorts(async ({ ports, emulator, folder }) => {
    killUnnoticed(emulator);
    await ports.close();
    assert.is(processStatus(emulator), undefined);
    assert.equal(readdirSync(folder), []);
  }),
);

emulatedPorts(
  'resume and pause, when the emulator has died unnoticed',
  withPorts(async ({ ports, emulator }) => {
    killUnnoticed(emulator);
    ports.resume();
    await expectGone(ports.pause());
    await expectGone(ports.count());
  }),
);

emulatedPorts(
  'pause, when the emulator is known to have died',
  withPorts(async ({ ports, emulator }) => {
    process.kill(emulator, 'SIGKILL');
    while (processStatus(emulator) !== undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    await expectGone(ports.pause());
  }),
);

emulatedPorts('an emulator that does not come up', async () => {
  await expectGone(EmulatedPorts.start(['--no-such-option']));
});

/** Opens port 0, lets the traffic go until `sent` frames have been sent to it, and returns what was received. */
async function receiveFrom(sent: number, ...args: string[]): Promise<NetStats> {
  const ports = await EmulatedPorts.start(['--count', String(sent), ...args]);
  try {
    const nic = await open(ports.addresses[0]!, { pageSize: '4K', promiscuous: true });
    try {
      for (let counted = 0; counted < sent; ) {
        ports.resume();
        await ports.pause();
        counted = (await ports.count())[0]!.sent;
      }
      return nic.stats();
    } finally {
      await nic.close();
    }
  } finally {
    await ports.close();
  }
}

emulatedPorts('a link that loses all, one that damages all, and a long one', async () => {
  const ideal = await receiveFrom(50);
  assert.equal([ideal.wireRxPackets, ideal.rxErrors], [50, 0]);
  const lossy = await receiveFrom(50, '--loss', '1');
  assert.equal([lossy.wireRxPackets, lossy.rxErrors], [0, 0]);
  const damaging = await receiveFrom(50, '--damage', '1', '--seed', '5');
  assert.equal([damaging.wireRxPackets, damaging.rxErrors], [0, 50]);
  const long = await receiveFrom(50, '--delay', '1000s');
  assert.equal([long.wireRxPackets, long.rxErrors], [0, 0]);
});

/** RAL and RAH of address 0 (82599 datasheet 8.2.3.7.8) as a MAC address, and whether the doorbells' page is mapped. */
async function look(address: string): Promise<{ mac: string; mapped: boolean }> {
  const device = await connectVfioUser(address.slice('vfio-user:'.length));
  const bar = device.region(0);
  const words = Uint32Array.of(bar.read32(0xa200), bar.read32(0xa204));
  const mapped = bar.window(0x1000, 0x1000) !== undefined;
  device.close();
  return { mac: Buffer.from(words.buffer).toString('hex').slice(0, 12), mapped };
}

/** What the ports of emulators show that run side by side, one for each list of arguments. */
async function portsOf(...emulators: string[][]): Promise<{ mac: string; mapped: boolean }[]> {
  const all: EmulatedPorts[] = [];
  try {
    for (const args of emulators) all.push(await EmulatedPorts.start(args));
    return await Promise.all(all.flatMap(({ addresses }) => addresses).map(look));
  } finally {
    for (const ports of all) await ports.close();
  }
}

emulatedPorts('--mac is the first address and counts up; --trap maps nothing', async () => {
  assert.equal(await portsOf(['--mac', '02:00:00:00:ff:ff', '--trap']), [
    { mac: '02000000ffff', mapped: false },
    { mac: '020000010000', mapped: false },
  ]);
});

emulatedPorts('without --mac no two ports of two emulators have the same address', async () => {
  // At one time: the address comes from the folder's inode, which the file system may use again when the folder is gone.
  const all = await portsOf([], []);
  assert.is(new Set(all.map(({ mac }) => mac)).size, 4);
  for (const { mac, mapped } of all) {
    assert.match(mac, /^02ba/);
    assert.ok(mapped);
  }
});

emulatedPorts('a slow link: the sender waits', async () => {
  const ports = await EmulatedPorts.start(['--bandwidth', '1']);
  try {
    ports.resume();
    // The first frame takes eleven minutes.
    for (let i = 0; i < 5; i++) assert.ok((await ports.pause())[0]! <= 1);
  } finally {
    await ports.close();
  }
});

emulatedPorts('a parent that dies while it waits for the counts', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bw-ports-'));
  try {
    // Ends when the emulator has ended too: that holds the standard error as well.
    const { signal, stderr } = runScript(`
      import { EmulatedPorts } from '${DIST}tools/emulated-ports.js';
      process.env.XDG_RUNTIME_DIR = '${folder}';
      const ports = await EmulatedPorts.start([]);
      void ports.count();
      process.kill(process.pid, 'SIGKILL');
    `);
    assert.is(signal, 'SIGKILL');
    assert.match(stderr, /^barewire: The process that started this emulator is gone\nhint: [^\n]+\n$/);
    assert.equal(readdirSync(folder), []);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

emulatedPorts('the line about the traffic names what is rare only where it came up', () => {
  const counted = {
    sent: 9,
    received: 5,
    lost: 1,
    reordered: 2,
    duplicated: 3,
    corrupt: 4,
    stale: 0,
    foreign: 0,
  };
  const line = 'far end 1: sent 9, received 5, lost 1, reordered 2, duplicated 3, corrupt 4';
  assert.is(trafficLine(1, counted), line);
  assert.is(trafficLine(1, { ...counted, stale: 6, foreign: 7 }), `${line}, stale 6, foreign 7`);
});

emulatedPorts.run();
