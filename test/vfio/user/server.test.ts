/** Each message at the server, as a client sends it, and each way to get it wrong, with the errno of the answer. */
import { closeSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { constants } from 'node:os';
import * as assert from 'uvu/assert';
import { eventfd } from '../../../src/syscalls/descriptors.js';
import {
  addFileSeals,
  F_SEAL_SHRINK,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  memfdCreate,
} from '../../../src/syscalls/memory.js';
import { PciIrq, PciRegion } from '../../../src/vfio/types.js';
import * as protocol from '../../../src/vfio/user/protocol.js';
import { closeFds, connectSocket } from '../../../src/vfio/user/socket.js';
import { expectRejection } from '../../support/expect-error.js';
import {
  countFds,
  fixtureSuite,
  hostFixture,
  RawClient,
  startHost,
  type TestHost,
  until,
} from './support/harness.js';
import { AREAS, BAR0_BYTES, BAR2_BYTES, IRQ_COUNTS, Op, Register } from './support/test-device.js';

const { EEXIST, EINVAL, EIO, ENOENT, ENOTSUP, EPERM } = constants.errno;
const { Command } = protocol;
const PAGE = 4096;

/** A suite with one host for all and a client, past VERSION, for each test. */
function serverSuite(name: string, mode = 'events') {
  return fixtureSuite(name, {
    start: async () => ({ host: await startHost(mode) }),
    enter: ({ host }) => ({ client: RawClient.negotiated(host.path) }),
    async leave({ client, host }) {
      const good = client.errnoOf(Command.DEVICE_GET_INFO, protocol.encodeDeviceInfo(NO_INFO));
      assert.is(good, 0, 'the connection still works after the test');
      client.close();
      await until(() => detached(host), 'the server takes the next client');
    },
    stop: ({ host }) => host.stop(),
  });
}

const NO_INFO = { flags: 0, regionCount: 0, irqCount: 0 };

/** True where the server accepts a new client, which it does not while it has one. */
function detached(host: TestHost): boolean {
  try {
    RawClient.negotiated(host.path).close();
    return true;
  } catch {
    return false;
  }
}

function memfd(sizeBytes: number): number {
  const fd = memfdCreate('test', MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ftruncateSync(fd, sizeBytes);
  return fd;
}

function read32(client: RawClient, offset: number): number {
  const range = { index: 0, offset, count: 4 };
  const { data } = protocol.decodeRegionData(
    client.ask(Command.REGION_READ, protocol.encodeRegionRange(range)).body,
  );
  return new Uint32Array(data.slice().buffer)[0]!;
}

function writeErrno(client: RawClient, offset: number, value: number): number {
  const data = new Uint8Array(Uint32Array.of(value).buffer);
  return client.errnoOf(
    Command.REGION_WRITE,
    protocol.encodeRegionRange({ index: 0, offset, count: 4 }, data),
  );
}

function run(
  client: RawClient,
  op: number,
  operands: { iova?: number; length?: number; value?: number },
): number {
  const iova = operands.iova ?? 0;
  writeErrno(client, Register.IOVA_LOW, iova % 2 ** 32);
  writeErrno(client, Register.IOVA_HIGH, Math.floor(iova / 2 ** 32));
  writeErrno(client, Register.LENGTH, operands.length ?? 0);
  writeErrno(client, Register.VALUE, operands.value ?? 0);
  return writeErrno(client, Register.OP, op);
}

const version = fixtureSuite('vfio-user server: VERSION', hostFixture());

function ours(changes: Partial<protocol.Version> = {}): Uint8Array {
  return protocol.encodeVersion({
    major: 0,
    minor: 0,
    capabilities: protocol.DEFAULT_CAPABILITIES,
    ...changes,
  });
}

version('a proposal of 0.0 is answered with 0.0, as QEMU needs; a later minor version too', ({ host }) => {
  for (const minor of [0, 2, 0xffff]) {
    const client = new RawClient(host.path);
    const reply = client.ask(Command.VERSION, ours({ minor }));
    const { major, minor: given, capabilities } = protocol.decodeVersion(reply.body);
    assert.equal([major, given], [0, 0]);
    assert.is(capabilities.maxTransferBytes, 1048576);
    assert.ok(capabilities.maxMessageFds <= 16, 'QEMU refuses more');
    assert.ok(capabilities.maxDmaMaps <= 65535, 'QEMU refuses more');
    assert.is(capabilities.pageSizesBytes % 4096, 0, 'QEMU refuses others');
    client.close();
    // the client before must be seen to leave
    assert.ok(untilSync(() => detached(host)));
  }
});

/** Blocks as long as it takes: the host runs in another process. */
function untilSync(condition: () => boolean): boolean {
  for (let tries = 0; tries < 20_000; tries++) if (condition()) return true;
  return false;
}

version('without JSON', ({ host }) => {
  const client = new RawClient(host.path);
  assert.is(client.errnoOf(Command.VERSION, new Uint8Array(4)), 0);
  client.close();
  assert.ok(untilSync(() => detached(host)));
});

version('another major version, broken JSON, or another message first: refused, and the end', ({ host }) => {
  const badJson = Uint8Array.from([0, 0, 0, 0, 0x7b, 0]);
  const cases: [number, Uint8Array][] = [
    [Command.VERSION, ours({ major: 1 })],
    [Command.VERSION, badJson],
    [Command.VERSION, new Uint8Array(3)],
    [Command.DEVICE_GET_INFO, protocol.encodeDeviceInfo(NO_INFO)],
    [Command.DEVICE_RESET, new Uint8Array(0)],
    [Command.REGION_READ, protocol.encodeRegionRange({ index: 0, offset: 0, count: 4 })],
  ];
  for (const [command, body] of cases) {
    const client = new RawClient(host.path);
    assert.is(client.errnoOf(command, body), EINVAL);
    assert.throws(() => client.receive(), /hung up/);
    client.close();
  }
});

version('a second client is refused, the first stays', ({ host }) => {
  const first = RawClient.negotiated(host.path);
  const second = new RawClient(host.path);
  assert.throws(() => second.receive(), /hung up/);
  second.close();
  assert.is(first.errnoOf(Command.DEVICE_GET_INFO, protocol.encodeDeviceInfo(NO_INFO)), 0);
  first.close();
  assert.ok(untilSync(() => detached(host)));
});

version('a client that connects and says nothing does not attach the device', async ({ host }) => {
  const before = RawClient.negotiated(host.path);
  const attaches = read32(before, Register.ATTACHES);
  before.close();
  assert.ok(untilSync(() => detached(host)));
  new RawClient(host.path).close();
  let after: RawClient | undefined;
  await until(() => {
    try {
      after = RawClient.negotiated(host.path);
      return true;
    } catch {
      return false;
    }
  }, 'the server takes a client');
  // the one of detached() and this one
  assert.is(read32(after!, Register.ATTACHES), attaches + 2);
  after!.close();
  assert.ok(untilSync(() => detached(host)));
});
version.run();

const info = serverSuite('vfio-user server: DEVICE_GET_INFO, DEVICE_GET_REGION_INFO, DEVICE_GET_IRQ_INFO');

info('a PCI device that can be reset, 9 regions, 5 interrupt indices', ({ client }) => {
  const { body } = client.ask(Command.DEVICE_GET_INFO, protocol.encodeDeviceInfo(NO_INFO));
  assert.equal(protocol.decodeDeviceInfo(body), { flags: 3, regionCount: 9, irqCount: 5 });
});

info('DEVICE_GET_INFO of the wrong length', ({ client }) => {
  assert.is(client.errnoOf(Command.DEVICE_GET_INFO, new Uint8Array(12)), EINVAL);
  assert.is(client.errnoOf(Command.DEVICE_GET_INFO, new Uint8Array(16)), EINVAL, 'argsz 0');
});

function regionInfo(client: RawClient, index: number, argsz: number) {
  return client.ask(Command.DEVICE_GET_REGION_INFO, protocol.encodeRegionInfoRequest(index, argsz));
}

info('a region with areas comes with its descriptor', ({ client }) => {
  const { body, fds } = regionInfo(client, 0, 4096);
  assert.is(fds.length, 1);
  closeFds(fds);
  const flags = 15;
  assert.equal(protocol.decodeRegionInfo(body), {
    flags,
    index: 0,
    sizeBytes: BAR0_BYTES,
    offset: 0,
    areas: [...AREAS],
  });
});

info('with too little room the size to ask again with, and no descriptor yet', ({ client }) => {
  const { body, fds } = regionInfo(client, 0, 32);
  assert.is(fds.length, 0);
  assert.is(body.length, 32);
  const argsz = new DataView(body.buffer).getUint32(0, true);
  const again = regionInfo(client, 0, argsz);
  assert.is(again.fds.length, 1);
  closeFds(again.fds);
  assert.is(protocol.decodeRegionInfo(again.body).areas?.length, AREAS.length);
});

info('regions without memory to share, and absent ones', ({ client }) => {
  const of = (index: number) => {
    const { body, fds } = regionInfo(client, index, 32);
    assert.is(fds.length, 0);
    const { flags, sizeBytes } = protocol.decodeRegionInfo(body);
    return [flags, sizeBytes];
  };
  assert.equal(of(PciRegion.BAR2), [1, BAR2_BYTES]);
  assert.equal(of(PciRegion.BAR4), [2, BAR2_BYTES]);
  assert.equal(of(PciRegion.ROM), [0, 0]);
});

info('DEVICE_GET_REGION_INFO: no such region, wrong length, no room', ({ client }) => {
  for (const index of [9, 0xffffffff]) {
    assert.is(
      client.errnoOf(Command.DEVICE_GET_REGION_INFO, protocol.encodeRegionInfoRequest(index, 32)),
      EINVAL,
    );
  }
  assert.is(client.errnoOf(Command.DEVICE_GET_REGION_INFO, protocol.encodeRegionInfoRequest(0, 31)), EINVAL);
  assert.is(client.errnoOf(Command.DEVICE_GET_REGION_INFO, new Uint8Array(31)), EINVAL);
});

info('interrupts: count and flags of each index', ({ client }) => {
  const flags = [7, 3, 3, 1, 1];
  IRQ_COUNTS.forEach((count, index) => {
    const { body } = client.ask(
      Command.DEVICE_GET_IRQ_INFO,
      protocol.encodeIrqInfo({ flags: 0, index, count: 0 }),
    );
    assert.equal(protocol.decodeIrqInfo(body), { flags: flags[index], index, count });
  });
});

info('DEVICE_GET_IRQ_INFO: no such index, wrong length', ({ client }) => {
  const request = protocol.encodeIrqInfo({ flags: 0, index: 5, count: 0 });
  assert.is(client.errnoOf(Command.DEVICE_GET_IRQ_INFO, request), EINVAL);
  assert.is(client.errnoOf(Command.DEVICE_GET_IRQ_INFO, request.subarray(4)), EINVAL);
});
info.run();

const access = serverSuite('vfio-user server: REGION_READ, REGION_WRITE', 'poll');

function readErrno(client: RawClient, index: number, offset: number, count: number): number {
  return client.errnoOf(Command.REGION_READ, protocol.encodeRegionRange({ index, offset, count }));
}

access('what is written is read', ({ client }) => {
  assert.is(writeErrno(client, Register.SCRATCH, 0xfedcba98), 0);
  assert.is(read32(client, Register.SCRATCH), 0xfedcba98);
});

access('config space in blocks of 256 bytes, as QEMU reads it', ({ client }) => {
  const range = { index: PciRegion.CONFIG, offset: 0, count: 256 };
  const { body } = client.ask(Command.REGION_READ, protocol.encodeRegionRange(range));
  const { data, ...echo } = protocol.decodeRegionData(body);
  assert.equal(echo, range);
  assert.equal([...data.subarray(0, 4)], [0x86, 0x80, 0xfb, 0x10]);
});

access('any length and offset inside the region', ({ client }) => {
  const range = { index: PciRegion.BAR2, offset: 3, count: 5 };
  const { body } = client.ask(Command.REGION_READ, protocol.encodeRegionRange(range));
  assert.equal([...protocol.decodeRegionData(body).data], [3, 4, 5, 6, 7]);
});

access('outside the region: EINVAL', ({ client }) => {
  assert.is(readErrno(client, 0, BAR0_BYTES - 3, 4), EINVAL);
  assert.is(readErrno(client, 0, BAR0_BYTES, 4), EINVAL);
  assert.is(readErrno(client, 0, 2 ** 51, 4), EINVAL);
  assert.is(readErrno(client, 0, 0, 0), EINVAL);
  assert.is(readErrno(client, 0, 0, 0xffffffff), EINVAL);
  assert.is(readErrno(client, PciRegion.BAR1, 0, 4), EINVAL);
  assert.is(readErrno(client, 9, 0, 4), EINVAL);
  assert.is(readErrno(client, 0xffffffff, 0, 4), EINVAL);
  assert.is(writeErrno(client, BAR0_BYTES, 1), EINVAL);
  assert.is(writeErrno(client, BAR0_BYTES - 2, 1), EINVAL);
  const beyond = protocol.encodeRegionRange({ index: 0, offset: 0, count: 4 });
  beyond.fill(0xff, 0, 8);
  assert.is(client.errnoOf(Command.REGION_READ, beyond), EINVAL, 'offset 2^64-1');
});

access('against the region’s flags: EPERM', ({ client }) => {
  assert.is(readErrno(client, PciRegion.BAR4, 0, 4), EPERM);
  const write = protocol.encodeRegionRange({ index: PciRegion.BAR2, offset: 0, count: 1 }, new Uint8Array(1));
  assert.is(client.errnoOf(Command.REGION_WRITE, write), EPERM);
});

access('a write with more or less data than it says: EINVAL', ({ client }) => {
  for (const length of [0, 3, 5]) {
    const body = protocol.encodeRegionRange({ index: 0, offset: 0x100, count: 4 }, new Uint8Array(length));
    assert.is(client.errnoOf(Command.REGION_WRITE, body), EINVAL);
  }
  assert.is(client.errnoOf(Command.REGION_WRITE, new Uint8Array(15)), EINVAL);
});

access('writes that want no reply get none, not even an error', ({ client }) => {
  const write = (offset: number, value: number) => {
    const data = new Uint8Array(Uint32Array.of(value).buffer);
    const body = protocol.encodeRegionRange({ index: 0, offset, count: 4 }, data);
    client.sendBytes(protocol.encodeCommand(0x7777, Command.REGION_WRITE, body, true));
  };
  write(Register.SCRATCH, 5);
  write(BAR0_BYTES, 1);
  // ask() checks that the next message is the reply to this
  assert.is(read32(client, Register.SCRATCH), 5);
});

access('a device that throws is answered with EIO and reported', async ({ client, host }) => {
  const before = host.errors.length;
  assert.is(run(client, Op.THROW, {}), EIO);
  await until(() => host.errors.length > before, 'the report');
  assert.match(host.errors.at(-1)!, 'an operation of the test device');
});

access('descriptors with a message that takes none: EINVAL, and closed', async ({ client, host }) => {
  const before = countFds(host.pid);
  const fd = openSync('/dev/null', 'r');
  const body = protocol.encodeRegionRange({ index: 0, offset: 0, count: 4 });
  for (let i = 0; i < 10; i++) assert.is(client.errnoOf(Command.REGION_READ, body, [fd, fd]), EINVAL);
  closeSync(fd);
  await until(() => countFds(host.pid) === before, 'all are closed');
});
access.run();

const dma = serverSuite('vfio-user server: DMA_MAP, DMA_UNMAP');

function mapBody(changes: Partial<protocol.DmaMap>): Uint8Array {
  return protocol.encodeDmaMap({ flags: 3, offset: 0n, iova: 0x10000n, sizeBytes: 0x4000n, ...changes });
}

function unmapErrno(client: RawClient, iova: bigint, sizeBytes: bigint, flags = 0): number {
  return client.errnoOf(Command.DMA_UNMAP, protocol.encodeDmaUnmap({ flags, iova, sizeBytes }));
}

function status(client: RawClient): number {
  return read32(client, Register.STATUS);
}

dma('the device reads and writes what the client shares, from its offset in the file', ({ client }) => {
  const fd = memfd(0x8000);
  assert.is(client.errnoOf(Command.DMA_MAP, mapBody({ offset: 0x3000n }), [fd]), 0);
  run(client, Op.FILL, { iova: 0x10010, length: 4, value: 0x5a });
  assert.is(status(client), 0);
  const bytes = Buffer.alloc(6);
  readSync(fd, bytes, 0, 6, 0x300f);
  assert.is(bytes.toString('hex'), '005a5a5a5a00');
  run(client, Op.SUM, { iova: 0x10000, length: 0x4000 });
  assert.is(read32(client, Register.VALUE), 4 * 0x5a);
  closeSync(fd);
});

dma('permissions of the window', ({ client }) => {
  const fd = memfd(0x4000);
  assert.is(client.errnoOf(Command.DMA_MAP, mapBody({ flags: 1 }), [fd]), 0);
  assert.is(client.errnoOf(Command.DMA_MAP, mapBody({ flags: 2, iova: 0x20000n }), [fd]), 0);
  run(client, Op.FILL, { iova: 0x10000, length: 1 });
  assert.is(status(client), 3);
  run(client, Op.SUM, { iova: 0x20000, length: 1 });
  assert.is(status(client), 3);
  run(client, Op.FILL, { iova: 0x20000, length: 1, value: 9 });
  assert.is(status(client), 0);
  run(client, Op.SUM, { iova: 0x10000, length: 1 });
  assert.is(read32(client, Register.VALUE), 9);
  closeSync(fd);
});

dma('a window ends where it ends', ({ client }) => {
  const fd = memfd(0x4000);
  client.ask(Command.DMA_MAP, mapBody({}), [fd]);
  for (const [iova, expected] of [
    [0xffff, 1],
    [0x14000, 1],
    [0x13fff, 2],
    [2 ** 52, 1],
  ] as const) {
    run(client, Op.FILL, { iova, length: 2 });
    assert.is(status(client), expected, `at 0x${iova.toString(16)}`);
  }
  closeSync(fd);
});

dma('without a descriptor: accepted, out of the device’s reach, unmapped like others', ({ client }) => {
  assert.is(client.errnoOf(Command.DMA_MAP, mapBody({})), 0);
  run(client, Op.SUM, { iova: 0x10000, length: 1 });
  assert.is(status(client), 1);
  assert.is(client.errnoOf(Command.DMA_MAP, mapBody({})), EEXIST);
  assert.is(unmapErrno(client, 0x10000n, 0x4000n), 0);
});

dma('refused with EINVAL: empty, not aligned, too high, unknown flags, no permission', ({ client }) => {
  const fd = memfd(0x8000);
  for (const changes of [
    { sizeBytes: 0n },
    { sizeBytes: 0x1001n },
    { iova: 0x10001n },
    { offset: 0x10n },
    { iova: 2n ** 53n },
    { iova: 2n ** 53n - 0x1000n, sizeBytes: 0x2000n },
    { iova: 2n ** 64n - 0x1000n, sizeBytes: 0x1000n },
    { iova: 0x1000n, sizeBytes: 2n ** 64n - 0x1000n },
    { offset: 2n ** 64n - 0x1000n },
    { flags: 0 },
    { flags: 0x13 },
    { flags: 0x80000003 },
  ]) {
    assert.is(client.errnoOf(Command.DMA_MAP, mapBody(changes), [fd]), EINVAL);
  }
  assert.is(client.errnoOf(Command.DMA_MAP, mapBody({}).subarray(1), [fd]), EINVAL);
  closeSync(fd);
});

dma('refused: a file shorter than the range, what is no memory, two files', async ({ client, host }) => {
  const before = countFds(host.pid);
  const fd = memfd(0x4000);
  assert.is(client.errnoOf(Command.DMA_MAP, mapBody({ offset: 0x1000n }), [fd]), EINVAL);
  assert.is(client.errnoOf(Command.DMA_MAP, mapBody({ sizeBytes: 0x5000n }), [fd]), EINVAL);
  assert.is(client.errnoOf(Command.DMA_MAP, mapBody({}), [fd, fd]), EINVAL);
  const device = openSync('/dev/zero', 'r+');
  assert.is(client.errnoOf(Command.DMA_MAP, mapBody({}), [device]), EPERM);
  const event = eventfd();
  assert.is(client.errnoOf(Command.DMA_MAP, mapBody({}), [event]), EPERM);
  for (const open of [fd, device, event]) closeSync(open);
  await until(() => countFds(host.pid) === before, 'all are closed');
});

dma('what the kernel refuses to map has its errno: a read-only file for writing', ({ client }) => {
  const writable = memfd(0x4000);
  assert.ok(addFileSeals(writable, F_SEAL_SHRINK));
  const fd = openSync(`/proc/self/fd/${writable}`, 'r');
  assert.is(client.errnoOf(Command.DMA_MAP, mapBody({}), [fd]), constants.errno.EACCES);
  assert.is(client.errnoOf(Command.DMA_MAP, mapBody({ flags: 1 }), [fd]), 0);
  for (const open of [fd, writable]) closeSync(open);
});

dma('a file cannot be made shorter under the server', ({ client }) => {
  const fd = memfd(0x4000);
  assert.is(client.errnoOf(Command.DMA_MAP, mapBody({}), [fd]), 0);
  assert.throws(() => ftruncateSync(fd, 0), /EPERM/);
  closeSync(fd);
});

dma('overlaps: EEXIST', ({ client }) => {
  const fd = memfd(0x8000);
  assert.is(client.errnoOf(Command.DMA_MAP, mapBody({}), [fd]), 0);
  for (const [iova, sizeBytes] of [
    [0x10000n, 0x4000n],
    [0xf000n, 0x2000n],
    [0x13000n, 0x2000n],
    [0x11000n, 0x1000n],
    [0xf000n, 0x8000n],
  ] as const) {
    assert.is(client.errnoOf(Command.DMA_MAP, mapBody({ iova, sizeBytes }), [fd]), EEXIST);
  }
  for (const iova of [0xf000n, 0x14000n]) {
    assert.is(client.errnoOf(Command.DMA_MAP, mapBody({ iova, sizeBytes: 0x1000n }), [fd]), 0);
  }
  closeSync(fd);
});

dma('DMA_UNMAP takes the window away and says what it did', ({ client }) => {
  const fd = memfd(0x4000);
  client.ask(Command.DMA_MAP, mapBody({}), [fd]);
  run(client, Op.SUM, { iova: 0x10000, length: 1 });
  assert.is(status(client), 0);
  const generation = read32(client, Register.GENERATION);
  const unmap = { flags: 0, iova: 0x10000n, sizeBytes: 0x4000n };
  const { header, body } = client.ask(Command.DMA_UNMAP, protocol.encodeDmaUnmap(unmap));
  assert.is(header.error, false);
  assert.equal(protocol.decodeDmaUnmap(body), unmap);
  run(client, Op.SUM, { iova: 0x10000, length: 1 });
  assert.is(status(client), 1);
  assert.is.not(read32(client, Register.GENERATION), generation);
  closeSync(fd);
});

dma('DMA_UNMAP of what was never mapped: ENOENT, and on it goes', ({ client }) => {
  assert.is(unmapErrno(client, 0x10000n, 0x4000n), ENOENT);
  assert.is(unmapErrno(client, 2n ** 63n, 2n ** 63n), ENOENT);
});

dma('DMA_UNMAP of a part, of nothing, beyond 2^64, for dirty pages: refused', ({ client }) => {
  const fd = memfd(0x4000);
  client.ask(Command.DMA_MAP, mapBody({}), [fd]);
  assert.is(unmapErrno(client, 0x10000n, 0x1000n), EINVAL);
  assert.is(unmapErrno(client, 0x11000n, 0x3000n), EINVAL);
  assert.is(unmapErrno(client, 0x11000n, 0x1000n), EINVAL);
  assert.is(unmapErrno(client, 0x10000n, 0n), EINVAL);
  assert.is(unmapErrno(client, 2n ** 64n - 0x1000n, 0x2000n), EINVAL);
  assert.is(unmapErrno(client, 0x10000n, 0x4000n, protocol.DMA_UNMAP_DIRTY_BITMAP), ENOTSUP);
  assert.is(unmapErrno(client, 0x10000n, 0x4000n, 8), ENOTSUP);
  assert.is(client.errnoOf(Command.DMA_UNMAP, new Uint8Array(20)), EINVAL);
  run(client, Op.SUM, { iova: 0x10000, length: 0x4000 });
  assert.is(status(client), 0, 'it is still mapped');
  closeSync(fd);
});

dma(
  'DMA_UNMAP of a range that holds whole windows takes all of them, as for a virtual IOMMU',
  ({ client }) => {
    const fd = memfd(0x4000);
    for (const iova of [0x10000n, 0x20000n, 0x30000n]) client.ask(Command.DMA_MAP, mapBody({ iova }), [fd]);
    assert.is(unmapErrno(client, 0n, 0x30000n), 0);
    for (const [iova, expected] of [
      [0x10000, 1],
      [0x20000, 1],
      [0x30000, 0],
    ] as const) {
      run(client, Op.SUM, { iova, length: 1 });
      assert.is(status(client), expected);
    }
    assert.is(unmapErrno(client, 0n, 0n, protocol.DMA_UNMAP_ALL), 0);
    run(client, Op.SUM, { iova: 0x30000, length: 1 });
    assert.is(status(client), 1);
    assert.is(unmapErrno(client, 0x1000n, 0n, protocol.DMA_UNMAP_ALL), EINVAL);
    closeSync(fd);
  },
);

dma('many windows in any order', ({ client }) => {
  const fd = memfd(PAGE);
  const order = Array.from({ length: 200 }, (_, i) => (i * 37) % 200);
  for (const page of order) {
    const body = mapBody({ iova: BigInt(page) * 0x2000n, sizeBytes: 0x1000n });
    assert.is(client.errnoOf(Command.DMA_MAP, body, [fd]), 0);
  }
  for (const page of order) {
    run(client, Op.REMAINING, { iova: page * 0x2000 + 0xff0 });
    assert.is(read32(client, Register.VALUE), 0x10);
    run(client, Op.REMAINING, { iova: page * 0x2000 + 0x1000 });
    assert.is(read32(client, Register.VALUE), 0);
  }
  closeSync(fd);
});

dma('memory of more than 4 GiB; an access across an inner border finds both sides', ({ client }) => {
  const GIB = 2 ** 30;
  const fd = memfd(5 * GIB);
  const body = mapBody({ iova: 0x100000000n, sizeBytes: BigInt(5 * GIB) });
  assert.is(client.errnoOf(Command.DMA_MAP, body, [fd]), 0);
  const border = 2 ** 32 + 3 * GIB;
  run(client, Op.FILL, { iova: border - 2, length: 4, value: 7 });
  assert.is(status(client), 0);
  run(client, Op.SUM, { iova: border, length: 3 });
  assert.is(read32(client, Register.VALUE), 14);
  const bytes = Buffer.alloc(6);
  readSync(fd, bytes, 0, 6, 3 * GIB - 3);
  assert.equal([...bytes], [0, 7, 7, 7, 7, 0]);
  run(client, Op.FILL, { iova: 2 ** 32 + 5 * GIB - 1, length: 2 });
  assert.is(status(client), 2);
  closeSync(fd);
});
dma.run();

const others = serverSuite('vfio-user server: DEVICE_RESET and what is not supported');

others('DEVICE_RESET', ({ client }) => {
  const resets = read32(client, Register.RESETS);
  writeErrno(client, Register.SCRATCH, 1);
  assert.is(client.errnoOf(Command.DEVICE_RESET), 0);
  assert.is(read32(client, Register.SCRATCH), 0x1234);
  assert.is(read32(client, Register.RESETS), resets + 1);
  assert.is(client.errnoOf(Command.DEVICE_RESET, new Uint8Array(4)), EINVAL);
});

others('a reset that throws: EIO', ({ client }) => {
  run(client, Op.THROW_AT_RESET, {});
  assert.is(client.errnoOf(Command.DEVICE_RESET), EIO);
});

others('messages that are not for a server, or optional: ENOTSUP', ({ client }) => {
  for (const command of [
    0,
    Command.DEVICE_GET_REGION_IO_FDS,
    Command.DMA_READ,
    Command.DMA_WRITE,
    14,
    Command.REGION_WRITE_MULTI,
    16,
    0xffff,
  ]) {
    assert.is(client.errnoOf(command, new Uint8Array(16)), ENOTSUP);
  }
});

others('a second VERSION: EINVAL', ({ client }) => {
  assert.is(client.errnoOf(Command.VERSION, ours()), EINVAL);
});

others('a message type that is neither command nor reply: EINVAL', ({ client }) => {
  const message = protocol.encodeCommand(5, Command.DEVICE_RESET);
  message[8] = 7;
  client.sendBytes(message);
  assert.is(client.receive().header.errno, EINVAL);
});
others.run();

const end = fixtureSuite('vfio-user server: the end of a connection', hostFixture());

end('a reply that nobody asked for, and a size that cannot be, end it', async ({ host }) => {
  const tooLong = protocol.encodeCommand(1, Command.REGION_WRITE);
  new DataView(tooLong.buffer).setUint32(4, 2 ** 21, true);
  for (const bytes of [protocol.encodeReply(1, Command.DMA_READ), new Uint8Array(16), tooLong]) {
    const client = await RawClient.admitted(host.path);
    const before = host.errors.length;
    client.sendBytes(bytes);
    assert.throws(() => client.receive(), /hung up/);
    client.close();
    await until(() => host.errors.length > before, 'the report');
  }
});

end('detach while the memory is still there, then unmap, then reset', async ({ host }) => {
  const client = await RawClient.admitted(host.path);
  const [detaches, resets] = [read32(client, Register.DETACHES), read32(client, Register.RESETS)];
  const fd = memfd(0x4000);
  client.ask(Command.DMA_MAP, mapBody({}), [fd]);
  writeErrno(client, Register.SCRATCH, 99);
  writeErrno(client, Register.IOVA_LOW, 0x10000);
  client.close();
  const next = await RawClient.admitted(host.path);
  assert.is(read32(next, Register.DETACHES), detaches + 1);
  assert.is(read32(next, Register.WINDOW_AT_DETACH), 1);
  assert.is(read32(next, Register.RESETS), resets + 1);
  assert.is(read32(next, Register.SCRATCH), 0x1234);
  run(next, Op.SUM, { iova: 0x10000, length: 1 });
  assert.is(status(next), 1, 'the memory of the client before is gone');
  next.close();
  closeSync(fd);
});

end('nothing is left of a client: descriptors, mappings', async ({ host }) => {
  (await RawClient.admitted(host.path)).close();
  const baseline = await RawClient.admitted(host.path);
  const [fds, mappings] = [countFds(host.pid), countMemfdMappings(host.pid)];
  const event = eventfd();
  const fd = memfd(0x4000);
  baseline.ask(Command.DMA_MAP, mapBody({}), [fd]);
  const irqs = { flags: 0x24, index: PciIrq.MSIX, start: 0, count: 2, data: protocol.NO_BODY };
  assert.is(baseline.errnoOf(Command.DEVICE_SET_IRQS, protocol.encodeSetIrqs(irqs), [event, event]), 0);
  assert.is(countFds(host.pid), fds + 2);
  assert.is(countMemfdMappings(host.pid), mappings + 1);
  // half a message, with a descriptor
  baseline.sendBytes(protocol.encodeCommand(1, Command.DMA_MAP, mapBody({})).subarray(0, 20), [event]);
  baseline.close();
  const after = await RawClient.admitted(host.path);
  assert.is(countFds(host.pid), fds);
  assert.is(countMemfdMappings(host.pid), mappings);
  after.close();
  for (const open of [event, fd]) closeSync(open);
});

end('a client that does not read its replies stops nobody but itself', async ({ host }) => {
  const client = await RawClient.admitted(host.path);
  // 64 replies of 64 KiB are more than a socket holds
  const request = protocol.encodeRegionRange({ index: 0, offset: 0, count: BAR0_BYTES });
  for (let id = 0; id < 64; id++) client.sendBytes(protocol.encodeCommand(id, Command.REGION_READ, request));
  for (let id = 0; id < 64; id++) {
    const { header, body } = client.receive();
    assert.is(header.id, id);
    assert.is(body.length, 16 + BAR0_BYTES);
  }
  for (let id = 0; id < 64; id++) client.sendBytes(protocol.encodeCommand(id, Command.REGION_READ, request));
  client.close();
  (await RawClient.admitted(host.path)).close();
});

end('close() removes the socket file', async () => {
  const host = await startHost();
  const client = await RawClient.admitted(host.path);
  host.child.send('close');
  await until(() => host.child.exitCode !== null, 'the host ends');
  assert.is(host.child.exitCode, 0);
  assert.throws(() => client.receive(), /hung up/);
  const { message } = await expectRejection('NO_SUCH_DEVICE', connectSocket(host.path, 0));
  assert.match(message, /Cannot connect/);
  client.close();
  await host.stop();
});
end.run();

function countMemfdMappings(pid: number): number {
  return readMaps(pid).filter((line) => line.includes('memfd:test ')).length;
}

function readMaps(pid: number): string[] {
  const fd = openSync(`/proc/${pid}/maps`, 'r');
  const chunks: Buffer[] = [];
  const chunk = Buffer.alloc(65536);
  for (let length = readSync(fd, chunk); length > 0; length = readSync(fd, chunk)) {
    chunks.push(Buffer.from(chunk.subarray(0, length)));
  }
  closeSync(fd);
  return Buffer.concat(chunks).toString().split('\n');
}
