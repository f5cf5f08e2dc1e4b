/** The client against servers that lie: only NicErrors, nothing left open, no access outside of what is mapped. */
import { closeSync, ftruncateSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { NicError } from '../../../src/errors.js';
import { eventfd } from '../../../src/syscalls/descriptors.js';
import { memfdCreate } from '../../../src/syscalls/memory.js';
import { PciIrq, PciRegion, type VfioDevice } from '../../../src/vfio/types.js';
import { Command, encodeCommand, encodeDmaRange, encodeErrorReply } from '../../../src/vfio/user/protocol.js';
import { openAllKinds } from './support/descriptor-kinds.js';
import { countFds, fixtureSuite, until } from './support/harness.js';
import { HostileServer } from './support/hostile-server.js';
import type { Script } from './support/hostile-worker.js';

/**
 * VERSION, DEVICE_GET_INFO, nine regions, five interrupt indices; and six BARs get addresses: the header type (twice), the
 * BARs and the command are read, the BARs and the command are written.
 */
const MESSAGES_TO_CONNECT = 16 + 9 + 7;
let server: HostileServer;

const test = fixtureSuite('vfio-user client: hostile server', {
  async start() {
    server = await HostileServer.start();
    return {};
  },
  enter: () => ({}),
  leave: () => {},
  stop: () => server.stop(),
});

function against(script: Partial<Script>, action: (device: VfioDevice) => void): Promise<void> {
  return server.against(script, action);
}

async function errorOf(using: Promise<void>): Promise<NicError> {
  try {
    await using;
  } catch (error) {
    assert.instance(error, NicError, `not a NicError: ${error}`);
    return error as NicError;
  }
  throw new Error('no error');
}

function useAll(device: VfioDevice): void {
  const fd = eventfd();
  const memory = memfdCreate('client', 0);
  ftruncateSync(memory, 4096);
  try {
    device.mapper.map({ address: 0n, fd: memory, sizeBytes: 4096 }, 0x1000n);
    device.setIrqEventfds(PciIrq.MSIX, [fd, fd]);
    const bar = device.region(PciRegion.BAR0);
    bar.write32(0, bar.read32(4));
    bar.write32(0x1000, bar.read32(0x2ffc));
    device.enableBusMaster();
    device.reset();
    device.mapper.unmap(0x1000n, 4096);
  } finally {
    closeSync(fd);
    closeSync(memory);
  }
}

function mappings(): number {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => /memfd:(hostile|kinds)/.test(line)).length;
}

test('an honest server, for comparison', async () => {
  await against({}, (device) => {
    assert.ok(device.region(PciRegion.BAR0).window(0x1000, 0x2000));
    useAll(device);
  });
});

test('memory that could shrink is not mapped, accesses go by message', async () => {
  await against({ memory: 'open' }, (device) => {
    const bar = device.region(PciRegion.BAR0);
    assert.is(bar.window(0x1000, 4), undefined);
    bar.write32(0x1000, 1);
    assert.is(bar.read32(0x1000), 0);
  });
});

test('memory that could shrink is mapped where the server is trusted', async () => {
  await server.against(
    { memory: 'open' },
    (device) => assert.ok(device.region(PciRegion.BAR0).window(0x1000, 4)),
    { timeoutMs: 2000, trustServer: true },
  );
});

test('memory shorter than the areas: PROTOCOL', async () => {
  const error = await errorOf(against({ memory: 'short' }, useAll));
  assert.is(error.code, 'PROTOCOL');
  assert.match(error.message, 'region 0');
});

test('replies to another message, commands as replies, wrong types: PROTOCOL', async () => {
  for (const [at, value] of [
    [0, 0xee],
    [2, 0xee],
    [8, 2],
  ] as const) {
    assert.is(
      (await errorOf(against({ at: 3, patches: [[at, value]], hangUp: true }, useAll))).code,
      'PROTOCOL',
    );
  }
});

test('sizes that cannot be: PROTOCOL', async () => {
  for (const patches of [
    [[4, 15]],
    [
      [4, 0],
      [5, 0],
    ],
    [[7, 0x7f]],
  ] as [number, number][][]) {
    assert.is((await errorOf(against({ at: 2, patches, hangUp: true }, useAll))).code, 'PROTOCOL');
  }
});

test('error replies keep their errno; 0 is none', async () => {
  const errorAt = (errno: number) => {
    const patches: [number, number][] = [
      [4, 16],
      [8, 0x21],
      [12, errno],
    ];
    return errorOf(against({ at: MESSAGES_TO_CONNECT, patches, cutBytes: 0 }, useAll));
  };
  const { code, errno } = await errorAt(28);
  assert.equal([code, errno], ['DMA_MAP', -28]);
  assert.is((await errorAt(0)).errno, undefined);
});

test('descriptors nobody asked for are closed', async () => {
  const before = countFds();
  // with the reply to VERSION: refused; with a region's: the first is taken; more than 16: refused
  assert.is((await errorOf(against({ at: 0, extraFds: 3 }, useAll))).code, 'PROTOCOL');
  await against({ at: 2, extraFds: 3 }, useAll);
  assert.is((await errorOf(against({ at: 2, extraFds: 40 }, useAll))).code, 'PROTOCOL');
  await against({ at: 2, extraFds: 3, extraKind: '/dev/null' }, useAll);
  await until(() => countFds() === before, 'all are closed');
});

test('the server’s own commands in between are answered', async () => {
  const read = encodeCommand(1, Command.DMA_READ, encodeDmaRange({ iova: 0x1000n, count: 16 }));
  const write = encodeCommand(
    2,
    Command.DMA_WRITE,
    encodeDmaRange({ iova: 0x1ff0n, count: 16 }, new Uint8Array(16).fill(7)),
  );
  const beyond = encodeCommand(
    3,
    Command.DMA_WRITE,
    encodeDmaRange({ iova: 0x1ff1n, count: 16 }, new Uint8Array(16)),
  );
  const unknown = encodeCommand(4, 99);
  const memory = memfdCreate('client', 0);
  ftruncateSync(memory, 4096);
  const before = [...read, ...write, ...beyond, ...unknown];
  await against({ at: MESSAGES_TO_CONNECT + 1, before }, (device) => {
    device.mapper.map({ address: 0n, fd: memory, sizeBytes: 4096 }, 0x1000n);
    assert.is(device.region(PciRegion.CONFIG).read32(0), 0);
  });
  assert.equal([...readFileSync(`/proc/self/fd/${memory}`).subarray(4079)], [0, ...new Array(16).fill(7)]);
  closeSync(memory);
});

test('a reply before it is asked for: PROTOCOL', async () => {
  const before = [...encodeErrorReply(77, Command.REGION_READ, constants.errno.EIO)];
  assert.is((await errorOf(against({ at: 5, before }, useAll))).code, 'PROTOCOL');
});

/** Those that this kernel makes for this user. */
const kinds = openAllKinds().map(({ name, fd }) => {
  closeSync(fd);
  return name;
});
const byte = fc.nat(255);
const anyScript: fc.Arbitrary<Partial<Script>> = fc.record({
  at: fc.nat(MESSAGES_TO_CONNECT + 10),
  // the header's size and the first fields are where it hurts
  patches: fc.array(fc.tuple(fc.oneof(fc.nat(31), fc.nat(95)), fc.oneof(byte, fc.constantFrom(0, 1, 0xff))), {
    maxLength: 4,
  }),
  cutBytes: fc.oneof(fc.constant(0), fc.nat(100)),
  before: fc.oneof(fc.constant([]), fc.array(byte, { maxLength: 64 })),
  extraFds: fc.oneof(fc.constant(0), fc.nat(40)),
  // silence is tested elsewhere: here it would only wait for the time-out
  hangUp: fc.constant(true),
  delayMs: fc.constant(0),
  flood: fc.constant('none' as const),
  memory: fc.oneof(fc.constantFrom('sealed', 'open', 'short'), fc.constantFrom(...kinds)),
  extraKind: fc.oneof(fc.constant(undefined), fc.constantFrom(...kinds)),
});

test('whatever it answers: a NicError or nothing, no descriptor and no mapping left', async () => {
  const before = [countFds(), mappings()];
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(anyScript, async (script) => {
      try {
        await against(script, useAll);
      } catch (error) {
        assert.instance(error, NicError, `not a NicError: ${error}`);
        refused++;
      }
      assert.is(mappings(), before[1]);
      await until(() => countFds() === before[0], 'all descriptors are closed');
    }),
    { numRuns: 300, endOnFailure: true },
  );
  assert.ok(refused > 100, 'the scripts do harm');
});

test.run();
