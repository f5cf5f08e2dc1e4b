/** The client against servers that lie: only NicErrors, nothing left open, no access outside of what is mapped. */
import { closeSync, ftruncateSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { NicError } from '../../../src/errors.js';
import { eventfd } from '../../../src/syscalls/descriptors.js';
import { memfdCreate } from '../../../src/syscalls/memory.js';
import { PciIrq, PciRegion, type VfioDevice } from '../../../src/vfio/types.js';
import { connectVfioUser } from '../../../src/vfio/user/client.js';
import { Command, encodeCommand, encodeDmaRange, encodeErrorReply } from '../../../src/vfio/user/protocol.js';
import { countFds, fixtureSuite } from './support/harness.js';
import type { HostileData, Script } from './support/hostile-worker.js';

const directory = mkdtempSync(join(tmpdir(), 'barewire-'));
const data: HostileData = {
  path: join(directory, 's'),
  control: new Int32Array(new SharedArrayBuffer(8)),
  text: new Uint8Array(new SharedArrayBuffer(1 << 20)),
};
/**
 * VERSION, DEVICE_GET_INFO, nine regions, five interrupt indices; and six BARs get addresses: the header type (twice), the
 * BARs and the command are read, the BARs and the command are written.
 */
const MESSAGES_TO_CONNECT = 16 + 9 + 7;
const HONEST: Script = {
  at: -1,
  patches: [],
  cutBytes: 0,
  before: [],
  extraFds: 0,
  hangUp: false,
  memory: 'sealed',
};
const LIVENESS_MS = 20_000;
let worker: Worker;

const test = fixtureSuite('vfio-user client: hostile server', {
  async start() {
    worker = new Worker(new URL('./support/hostile-worker.js', import.meta.url), { workerData: data });
    await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    return {};
  },
  enter: () => ({}),
  leave: () => {},
  async stop() {
    const exit = new Promise((resolve) => worker.once('exit', resolve));
    Atomics.store(data.control, 0, 2);
    Atomics.notify(data.control, 0);
    await exit;
    rmSync(directory, { recursive: true });
  },
});

/** Connects to a server that plays `script`, and lets `action` use the device. */
function against(script: Partial<Script>, action: (device: VfioDevice) => void): void {
  if (Atomics.load(data.control, 0) !== 0) throw new Error('The hostile server is stuck');
  const json = new TextEncoder().encode(JSON.stringify({ ...HONEST, ...script }));
  data.text.set(json);
  data.control[1] = json.length;
  Atomics.store(data.control, 0, 1);
  Atomics.notify(data.control, 0);
  try {
    const device = connectVfioUser(data.path, { timeoutMs: 2000 });
    try {
      action(device);
    } finally {
      device.close();
    }
  } finally {
    // the worker could not tell of its death while this thread blocks: the next script would find it stuck
    Atomics.wait(data.control, 0, 1, LIVENESS_MS);
  }
}

function errorOf(action: () => void): NicError {
  try {
    action();
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
    .filter((line) => line.includes('memfd:hostile')).length;
}

test('an honest server, for comparison', () => {
  against({}, (device) => {
    assert.ok(device.region(PciRegion.BAR0).window(0x1000, 0x2000));
    useAll(device);
  });
});

test('memory that could shrink is not mapped, accesses go by message', () => {
  against({ memory: 'open' }, (device) => {
    const bar = device.region(PciRegion.BAR0);
    assert.is(bar.window(0x1000, 4), undefined);
    bar.write32(0x1000, 1);
    assert.is(bar.read32(0x1000), 0);
  });
});

test('memory shorter than the areas: PROTOCOL', () => {
  const error = errorOf(() => against({ memory: 'short' }, useAll));
  assert.is(error.code, 'PROTOCOL');
  assert.match(error.message, 'region 0');
});

test('replies to another message, commands as replies, wrong types: PROTOCOL', () => {
  for (const [at, value] of [
    [0, 0xee],
    [2, 0xee],
    [8, 2],
  ] as const) {
    assert.is(
      errorOf(() => against({ at: 3, patches: [[at, value]], hangUp: true }, useAll)).code,
      'PROTOCOL',
    );
  }
});

test('sizes that cannot be: PROTOCOL', () => {
  for (const patches of [
    [[4, 15]],
    [
      [4, 0],
      [5, 0],
    ],
    [[7, 0x7f]],
  ] as [number, number][][]) {
    assert.is(errorOf(() => against({ at: 2, patches, hangUp: true }, useAll)).code, 'PROTOCOL');
  }
});

test('error replies keep their errno; 0 is none', () => {
  const errorAt = (errno: number) => {
    const patches: [number, number][] = [
      [4, 16],
      [8, 0x21],
      [12, errno],
    ];
    return errorOf(() => against({ at: MESSAGES_TO_CONNECT, patches, cutBytes: 0 }, useAll));
  };
  assert.equal([errorAt(28).code, errorAt(28).errno], ['DMA_MAP', -28]);
  assert.is(errorAt(0).errno, undefined);
});

test('descriptors nobody asked for are closed', () => {
  const before = countFds();
  // with the reply to VERSION: refused; with a region's: the first is taken; more than 16: refused
  assert.is(errorOf(() => against({ at: 0, extraFds: 3 }, useAll)).code, 'PROTOCOL');
  against({ at: 2, extraFds: 3 }, useAll);
  assert.is(errorOf(() => against({ at: 2, extraFds: 40 }, useAll)).code, 'PROTOCOL');
  assert.is(countFds(), before);
});

test('the server’s own commands in between are answered', () => {
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
  against({ at: MESSAGES_TO_CONNECT + 1, before }, (device) => {
    device.mapper.map({ address: 0n, fd: memory, sizeBytes: 4096 }, 0x1000n);
    assert.is(device.region(PciRegion.CONFIG).read32(0), 0);
  });
  assert.equal([...readFileSync(`/proc/self/fd/${memory}`).subarray(4079)], [0, ...new Array(16).fill(7)]);
  closeSync(memory);
});

test('a reply before it is asked for: PROTOCOL', () => {
  const before = [...encodeErrorReply(77, Command.REGION_READ, constants.errno.EIO)];
  assert.is(errorOf(() => against({ at: 5, before }, useAll)).code, 'PROTOCOL');
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
  memory: fc.constantFrom('sealed', 'open', 'short'),
});

test('whatever it answers: a NicError or nothing, no descriptor and no mapping left', () => {
  const before = [countFds(), mappings()];
  let refused = 0;
  fc.assert(
    fc.property(anyScript, (script) => {
      try {
        against(script, useAll);
      } catch (error) {
        assert.instance(error, NicError, `not a NicError: ${error}`);
        refused++;
      }
      assert.equal([countFds(), mappings()], before);
    }),
    { numRuns: 300, endOnFailure: true },
  );
  assert.ok(refused > 100, 'the scripts do harm');
});

test.run();
