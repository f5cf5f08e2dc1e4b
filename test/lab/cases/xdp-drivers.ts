/**
 * `xdp:` on the kernel's ixgbe, which has zero-copy, driving two of our models that a cable joins; what `list` says of it and of
 * drivers that have none; and those, QEMU's igb and virtio-net, next to a port by VFIO:
 *
 *     namespace A / k3 <-> igb, the kernel's [barewire fwd] igb by VFIO <-> k2 / namespace B
 *
 * on-host/xdp-drivers.ts is the host's half.
 */
import * as assert from 'uvu/assert';
import { open } from '../../../src/driver/registry.js';
import { PacketPool } from '../../../src/hugepage/packet-pool.js';
import {
  addNamespace,
  bindDriver,
  interfaceOf,
  nicAddresses,
  removeNamespace,
  waitForCarrier,
} from '../guest.js';
import { attempt, type Background, run, waitFor } from '../processes.js';
import { suite } from '../suite.js';
import {
  ADDRESS_A,
  ADDRESS_B,
  assertAllLengthsPass,
  assertBalanced,
  assertPings,
  BAREWIRE,
  describeTotals,
  finalTotals,
  note,
  startTraffic,
} from '../wire.js';

const FRAMES = 5000;
const SOON_MS = 60_000;
/** Of the port by VFIO, among the devices under test. */
const VFIO_INDEX = 2;

const [ixgbe0, ixgbe1, vfio, igb, virtio] = nicAddresses() as [string, string, string, string, string];

function barewire(...args: string[]) {
  return attempt(process.execPath, [BAREWIRE, ...args], { timeoutMs: 120_000 });
}

/** The kernel's interface of a NIC, up. */
async function bringUp(address: string): Promise<string> {
  const name = interfaceOf(address)!;
  run('ip', ['link', 'set', name, 'up']);
  await waitForCarrier(name);
  return name;
}

const drivers = suite('AF_XDP on drivers of the kernel');

drivers('list says which have zero-copy', () => {
  bindDriver(vfio, 'vfio-pci');
  const listed = JSON.parse(barewire('list', '--json').stdout) as { interfaces: string[]; mode?: string }[];
  const modes = [ixgbe0, igb, virtio].map(
    (nic) =>
      listed.find(({ mode, interfaces }) => mode !== undefined && interfaces.includes(interfaceOf(nic)!))
        ?.mode,
  );
  assert.equal(modes, ['zero-copy', 'copy', 'copy']);
});

drivers(
  'ixgbe by zero-copy: every frame of a pool whose buffers reach into other pages is whole',
  async () => {
    const names = [await bringUp(ixgbe0), await bringUp(ixgbe1)];
    const pool = new PacketPool({ buffers: 4096, bufferSizeBytes: 4096, headroomBytes: 64, pageSize: '4K' });
    const options = {
      pool,
      promiscuous: true,
      interfaceMode: 'zero-copy',
      rxRingSize: 512,
      txRingSize: 512,
    } as const;
    const from = await open(`xdp:${names[0]}`, options);
    const to = await open(`xdp:${names[1]}`, options);
    try {
      note(to.model);
      assert.match(to.model, 'ixgbe under Linux, AF_XDP zero-copy mode, native program');
      for (const device of [from, to]) assert.ok((await device.waitForLink({ timeoutMs: SOON_MS })).up);
      const bufs = new Uint32Array(16);
      let [sent, received, other] = [0, 0, 0];
      const length = (number: number): number => 60 + ((number * 97) % 1455);
      await waitFor(
        `${FRAMES} frames`,
        () => {
          const wanted = Math.min(bufs.length, FRAMES - sent);
          if (wanted > 0 && sent - received < 128) {
            const got = pool.allocate(bufs, wanted);
            for (const [i, packet] of bufs.subarray(0, got).entries()) {
              const frame = pool.bytes(packet).subarray(0, length(sent + i));
              frame.fill((sent + i) & 0xff).set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
              pool.lengths[packet] = frame.length;
            }
            const taken = from.txQueues[0].send(bufs, got);
            pool.release(bufs, got - taken, taken);
            sent += taken;
          }
          from.txQueues[0].reclaim();
          const count = to.rxQueues[0].receive(bufs);
          for (const packet of bufs.subarray(0, count)) {
            const frame = pool.bytes(packet).subarray(0, pool.lengths[packet]);
            if (frame[12] !== 0x88 || frame[13] !== 0xb5) {
              other++;
              continue;
            }
            assert.is(frame.length, length(received), `frame ${received}`);
            assert.ok(
              frame.subarray(14).every((byte) => byte === (received & 0xff)),
              `frame ${received}`,
            );
            received++;
          }
          pool.release(bufs, count);
          return received === FRAMES;
        },
        SOON_MS * 3,
      );
      assert.ok(await from.drain({ timeoutMs: SOON_MS }));
      note(`${received} frames, ${other} of the kernel's; ${JSON.stringify(to.stats())}`);
      assert.is(to.stats().rxMissed, 0);
    } finally {
      await from.close();
      await to.close();
    }
    assert.is(pool.available, pool.capacity);
    pool.close();
  },
);

drivers.run();

const mixed = suite('AF_XDP and VFIO');
let fwd: Background | undefined;

mixed.before(() => {
  bindDriver(vfio, 'vfio-pci');
  addNamespace('B', VFIO_INDEX, `${ADDRESS_B}/24`);
});
mixed.after.each(() => {
  fwd?.kill('SIGKILL');
  removeNamespace('A');
});

// The kernel's igb spreads flows over as many queues as there are processors.
for (const [index, nic, kernelDriver, queues] of [
  [3, igb, 'igb', 2],
  [4, virtio, 'virtio_net', 1],
] as const) {
  mixed(`fwd from ${kernelDriver}, which stays with the kernel, to a port by VFIO, and back`, async () => {
    const name = await bringUp(nic);
    const peer = addNamespace('A', index, `${ADDRESS_A}/24`);
    fwd = await startTraffic(['fwd', `xdp:${name}`, vfio, '--queues', `${queues}`]);
    assertPings(50);
    const frames = await assertAllLengthsPass([peer, `k${VFIO_INDEX}`]);
    const outcome = await fwd.stop();
    assert.is(outcome.status, 0, outcome.stderr);
    const totals = finalTotals(outcome);
    note(`${kernelDriver}: ${frames} frames; ${describeTotals(totals)}`);
    assertBalanced(totals);
    const { interfaceMode, interfaceProgram } = totals[0]!;
    assert.equal([interfaceMode, interfaceProgram], ['copy', 'native']);
  });
}

mixed('a port with more queues than are taken is named, with what to do', async () => {
  const name = await bringUp(igb);
  addNamespace('A', 3, `${ADDRESS_A}/24`);
  fwd = await startTraffic(['fwd', `xdp:${name}`, vfio]);
  assert.match(
    fwd.stderr,
    `warning: xdp:${name} has 2 receive queues, of which one is taken: flows on the others stay with the kernel`,
  );
  const told = /^hint: "ethtool (-L \S+ combined 1)" leaves no others; fwd takes all with --queues 2$/m.exec(
    fwd.stderr,
  );
  await fwd.stop();
  run('ethtool', told![1]!.split(' '));
  await waitForCarrier(name);
  fwd = await startTraffic(['fwd', `xdp:${name}`, vfio]);
  assert.not.match(fwd.stderr, 'receive queues');
  assertPings(50);
});

mixed.run();
