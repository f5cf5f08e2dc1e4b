/** The client's VfioDevice against the server in another process. */
import { closeSync, existsSync, ftruncateSync, mkdtempSync, readFileSync, readSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { NicError } from '../../../src/errors.js';
import { eventfd } from '../../../src/syscalls/descriptors.js';
import {
  type Mapping,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  mapShared,
  memfdCreate,
  munmap,
} from '../../../src/syscalls/memory.js';
import { type DmaBacking, PciIrq, PciRegion, type VfioDevice } from '../../../src/vfio/types.js';
import { connectVfioUser, type VfioUserClientOptions } from '../../../src/vfio/user/client.js';
import { HANG_MS } from '../../support/hang.js';
import { suite } from '../../support/suite.js';
import { countFds, fixtureSuite, startHost, type TestHost, until } from './support/harness.js';
import { AREAS, BAR0_BYTES, BAR2_BYTES, IRQ_COUNTS, Op, Register } from './support/test-device.js';

const { EINVAL, EIO, EPERM } = constants.errno;

interface Memory extends DmaBacking {
  readonly bytes: Uint8Array;
  free(): void;
}

function allocate(sizeBytes: number): Memory {
  const fd = memfdCreate('test-memory', MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ftruncateSync(fd, sizeBytes);
  const mapping: Mapping = mapShared(fd, sizeBytes);
  return {
    address: mapping.address,
    fd,
    sizeBytes,
    bytes: new Uint8Array(mapping.buffer),
    free: () => {
      munmap(mapping);
      closeSync(fd);
    },
  };
}

async function connect(host: TestHost): Promise<VfioDevice> {
  // the server may not have seen the client before leave
  for (const endMs = performance.now() + HANG_MS; ; ) {
    try {
      return await connectVfioUser(host.path);
    } catch (error) {
      if (!(error instanceof NicError) || error.code !== 'PEER_GONE' || performance.now() > endMs)
        throw error;
    }
  }
}

async function connectError(path: string, options: VfioUserClientOptions = {}): Promise<NicError> {
  try {
    (await connectVfioUser(path, options)).close();
  } catch (error) {
    assert.instance(error, NicError, `not a NicError: ${error}`);
    return error as NicError;
  }
  throw new Error('was accepted');
}

function errorOf(action: () => unknown): NicError {
  try {
    action();
  } catch (error) {
    assert.instance(error, NicError, `not a NicError: ${error}`);
    return error as NicError;
  }
  throw new Error('was accepted');
}

function mappedRegions(): number {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes('memfd:test-device')).length;
}

function run(
  device: VfioDevice,
  op: number,
  operands: { iova?: bigint; length?: number; value?: number },
): number {
  const bar = device.region(PciRegion.BAR0);
  const iova = operands.iova ?? 0n;
  bar.write32(Register.IOVA_LOW, Number(iova & 0xffffffffn));
  bar.write32(Register.IOVA_HIGH, Number(iova >> 32n));
  bar.write32(Register.LENGTH, operands.length ?? 0);
  bar.write32(Register.VALUE, operands.value ?? 0);
  bar.write32(Register.OP, op);
  return bar.read32(Register.STATUS);
}

function clientSuite(name: string, mode: string) {
  return fixtureSuite(name, {
    start: async () => ({ host: await startHost(mode) }),
    enter: async ({ host }) => ({ device: await connect(host) }),
    leave: ({ device }) => device.close(),
    stop: ({ host }) => host.stop(),
  });
}

for (const mode of ['events', 'poll']) {
  const test = clientSuite(`vfio-user client, server driven by ${mode}`, mode);

  test('what the device is', ({ device, host }) => {
    assert.is(device.address, `vfio-user:${host.path}`);
    assert.is(device.backend, 'vfio-user');
    assert.is(device.canReset, true);
    IRQ_COUNTS.forEach((count, index) => {
      const info = device.irqInfo(index);
      assert.equal([info.count, info.eventfd, info.maskable], [count, true, index <= PciIrq.MSIX]);
    });
    assert.is(device.irqInfo(7).count, 0);
  });

  test('regions', ({ device }) => {
    const bar = device.region(PciRegion.BAR0);
    assert.is(device.region(PciRegion.BAR0), bar);
    assert.equal([bar.sizeBytes, bar.readable, bar.writable], [BAR0_BYTES, true, true]);
    const readOnly = device.region(PciRegion.BAR2);
    assert.equal([readOnly.sizeBytes, readOnly.readable, readOnly.writable], [BAR2_BYTES, true, false]);
    for (const index of [PciRegion.BAR1, PciRegion.ROM, 8, 9, -1]) {
      assert.is(errorOf(() => device.region(index)).code, 'REGION_RANGE');
    }
  });

  test('registers by message, of each width', ({ device }) => {
    const bar = device.region(PciRegion.BAR0);
    assert.is(bar.window(Register.SCRATCH, 4), undefined);
    bar.write32(Register.SCRATCH, 0xfedcba98);
    assert.is(bar.read32(Register.SCRATCH), 0xfedcba98);
    bar.write16(Register.SCRATCH + 2, 0x1234);
    bar.write8(Register.SCRATCH, 0xff);
    assert.is(bar.read32(Register.SCRATCH), 0x1234baff);
    assert.is(bar.read16(Register.SCRATCH + 2), 0x1234);
    assert.is(bar.read8(Register.SCRATCH + 1), 0xba);
    assert.is(device.region(PciRegion.BAR2).read32(4), 0x07060504);
  });

  test('the areas are mapped, exactly they, and both sides see the other’s stores', ({ device }) => {
    const bar = device.region(PciRegion.BAR0);
    for (const { offset, sizeBytes } of AREAS) {
      assert.ok(bar.window(offset, sizeBytes));
      assert.is(bar.window(offset - 4, 8), undefined);
      assert.is(bar.window(offset + sizeBytes - 4, 8), undefined);
    }
    const window = bar.window(AREAS[0].offset, 4)!;
    run(device, Op.STORE_SHARED, { value: 0x89abcdef });
    assert.is(window[0], 0x89abcdef);
    window[0] = 0x01020304;
    // an access across the area's end goes by message and reads what the server has
    const words = new Uint32Array(1);
    words[0] = bar.read32(AREAS[0].offset);
    assert.is(words[0], 0x01020304);
  });

  test('the server’s refusal of a register access', ({ device }) => {
    const error = errorOf(() => device.region(PciRegion.BAR2).write32(0, 1));
    assert.equal([error.code, error.errno, error.syscall], ['VFIO', -EPERM, 'REGION_WRITE']);
    assert.is(errorOf(() => device.region(PciRegion.BAR4).read32(0)).errno, -EPERM);
    assert.is(errorOf(() => run(device, Op.THROW, {})).errno, -EIO);
    assert.is(device.region(PciRegion.BAR2).read8(1), 1, 'the connection goes on');
  });

  test('DMA: the device writes what we read and reads what we wrote', ({ device }) => {
    const memory = allocate(0x10000);
    const iova = 0x7_0000_0000n;
    device.mapper.map(memory, iova);
    assert.is(run(device, Op.FILL, { iova: iova + 0x100n, length: 0x200, value: 0xa5 }), 0);
    assert.equal(
      [memory.bytes[0xff], memory.bytes[0x100], memory.bytes[0x2ff], memory.bytes[0x300]],
      [0, 0xa5, 0xa5, 0],
    );
    memory.bytes.fill(3);
    assert.is(run(device, Op.SUM, { iova, length: 0x10000 }), 0);
    assert.is(device.region(PciRegion.BAR0).read32(Register.VALUE), 3 * 0x10000);
    device.mapper.unmap(iova, memory.sizeBytes);
    assert.is(run(device, Op.SUM, { iova, length: 1 }), 1);
    memory.free();
  });

  test('DMA: refusals', ({ device }) => {
    const memory = allocate(0x4000);
    const { mapper } = device;
    const code = (action: () => void) => errorOf(action).code;
    assert.is(
      code(() => mapper.map(memory, 0n)),
      'DMA_MAP',
    );
    assert.is(
      code(() => mapper.map(memory, 0xfee00000n)),
      'DMA_MAP',
    );
    assert.is(
      code(() => mapper.map(memory, 0xfedfe000n)),
      'DMA_MAP',
    );
    assert.is(
      code(() => mapper.map(memory, 2n ** 48n - 0x1000n)),
      'DMA_MAP',
    );
    assert.is(errorOf(() => mapper.map({ ...memory, sizeBytes: 0x8000 }, 0x10000n)).errno, -EINVAL);
    mapper.map(memory, 0x10000n);
    assert.is(errorOf(() => mapper.map(memory, 0x12000n)).errno, -constants.errno.EEXIST);
    assert.is(
      code(() => mapper.unmap(0x12000n, 0x4000)),
      'DMA_MAP',
    );
    assert.is(
      code(() => mapper.unmap(0x10000n, 0x2000)),
      'DMA_MAP',
    );
    mapper.unmap(0x10000n, 0x4000);
    assert.is(
      code(() => mapper.unmap(0x10000n, 0x4000)),
      'DMA_MAP',
    );
    memory.free();
  });

  test('the usable IOVAs leave out page 0 and the MSI window', ({ device }) => {
    const ranges = device.mapper.iovaRanges;
    assert.ok(ranges.every(({ first, last }) => first >= 0x1000n && first <= last && last < 2n ** 53n));
    assert.not(ranges.some(({ first, last }) => first <= 0xfeefffffn && last >= 0xfee00000n));
  });

  test('interrupts: more vectors than descriptors fit a message, some not connected', ({ device }) => {
    const eventfds = Array.from({ length: 40 }, (_, i) => (i % 13 === 5 ? -1 : eventfd()));
    device.setIrqEventfds(PciIrq.MSIX, eventfds);
    for (let vector = 0; vector < 40; vector++) run(device, Op.RAISE, { length: PciIrq.MSIX, value: vector });
    const fired = (fd: number) => {
      const count = new BigUint64Array(1);
      try {
        readSync(fd, count);
        return Number(count[0]);
      } catch {
        return 0;
      }
    };
    assert.equal(
      eventfds.map(fired),
      eventfds.map((fd) => (fd < 0 ? 0 : 1)),
    );
    device.disableIrqs(PciIrq.MSIX);
    run(device, Op.RAISE, { length: PciIrq.MSIX, value: 0 });
    assert.is(fired(eventfds[0]!), 0);
    for (const fd of eventfds) if (fd >= 0) closeSync(fd);
  });

  test('interrupts: more vectors than there are, none, what is no eventfd', ({ device }) => {
    const fd = eventfd();
    assert.is(errorOf(() => device.setIrqEventfds(PciIrq.INTX, [fd, fd])).code, 'INTERRUPTS');
    assert.is(errorOf(() => device.setIrqEventfds(PciIrq.MSIX, [])).code, 'INTERRUPTS');
    const memory = allocate(0x1000);
    assert.is(errorOf(() => device.setIrqEventfds(PciIrq.MSIX, [memory.fd])).errno, -EINVAL);
    memory.free();
    closeSync(fd);
  });

  test('memory BARs have addresses and are on, after a reset, too; bus mastering is not', ({ device }) => {
    const config = device.region(PciRegion.CONFIG);
    const state = () => [4, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24].map((offset) => config.read32(offset));
    const assigned = [0x2, 0xc0000004, 0, 0xc0010000, 0, 0xc0011000, 0];
    assert.equal(state(), assigned);
    config.write32(0x10, 0xd0000000);
    device.enableBusMaster();
    device.reset();
    assert.equal(state(), assigned);
  });

  test('reset', ({ device }) => {
    const bar = device.region(PciRegion.BAR0);
    bar.write32(Register.SCRATCH, 1);
    device.reset();
    assert.is(bar.read32(Register.SCRATCH), 0x1234);
    run(device, Op.THROW_AT_RESET, {});
    const error = errorOf(() => device.reset());
    assert.equal([error.code, error.errno], ['VFIO', -EIO]);
  });

  test('bus master on and off, the other bits of the command register stay', ({ device }) => {
    const config = device.region(PciRegion.CONFIG);
    config.write16(4, 0x400);
    device.enableBusMaster();
    assert.is(config.read16(4), 0x406);
    device.disableBusMaster();
    assert.is(config.read16(4), 0x402);
  });

  test('close leaves nothing and may be called twice; then everything is CLOSED', async ({
    device,
    host,
  }) => {
    device.close();
    const before = [countFds(), mappedRegions()];
    const second = await connect(host);
    const region = second.region(PciRegion.BAR0);
    assert.is(mappedRegions(), before[1]! + AREAS.length);
    const memory = allocate(0x1000);
    second.mapper.map(memory, 0x1000n);
    second.close();
    second.close();
    memory.free();
    assert.equal([countFds(), mappedRegions()], before);
    for (const action of [
      () => region.read32(AREAS[0].offset),
      () => region.read32(0),
      () => second.reset(),
      () => second.mapper.map(memory, 0x1000n),
    ]) {
      assert.is(errorOf(action).code, 'CLOSED');
    }
  });

  test('a second client is told that there is one already', async ({ host }) => {
    const before = countFds();
    const error = await connectError(host.path);
    assert.is(error.code, 'PEER_GONE');
    assert.match(error.hint ?? '', 'one client at a time');
    assert.is(countFds(), before);
  });

  test.run();
}

const gone = suite('vfio-user client: the server is gone');

gone('killed: onGone once, mappings still work, messages throw, nothing is left after close', async () => {
  const before = [countFds(), mappedRegions()];
  const host = await startHost();
  const device = await connectVfioUser(host.path);
  const memory = allocate(0x1000);
  device.mapper.map(memory, 0x1000n);
  device.setIrqEventfds(
    PciIrq.MSIX,
    [memory.fd].map(() => eventfdToClose()),
  );
  const seen: Error[] = [];
  device.onGone((error) => seen.push(error));
  device.onGone(() => assert.unreachable('was removed'))();
  host.child.kill('SIGKILL');
  await until(() => seen.length > 0, 'onGone');
  assert.is((seen[0] as NicError).code, 'PEER_GONE');
  const bar = device.region(PciRegion.BAR0);
  bar.write32(AREAS[0].offset, 42);
  assert.is(bar.read32(AREAS[0].offset), 42);
  for (const action of [
    () => bar.read32(0),
    () => bar.write32(0, 1),
    () => device.reset(),
    () => device.enableBusMaster(),
    () => device.mapper.map(memory, 0x10000n),
    () => device.setIrqEventfds(PciIrq.MSIX, [0]),
  ]) {
    assert.is(errorOf(action).code, 'PEER_GONE');
  }
  // taking away needs no server
  device.disableBusMaster();
  device.disableIrqs(PciIrq.MSIX);
  device.mapper.unmap(0x1000n, 0x1000);
  let late = 0;
  device.onGone(() => late++);
  await until(() => late === 1, 'a listener that comes late');
  device.close();
  memory.free();
  for (const fd of toClose.splice(0)) closeSync(fd);
  assert.is(seen.length, 1);
  await until(() => host.child.signalCode !== null, 'the exit');
  await host.stop();
  await until(() => countFds() === before[0], 'the descriptors of the child process');
  assert.is(mappedRegions(), before[1]);
});

const toClose: number[] = [];
function eventfdToClose(): number {
  const fd = eventfd();
  toClose.push(fd);
  return fd;
}

gone('noticed by a register access, before the event loop has its turn', async () => {
  const host = await startHost();
  const device = await connectVfioUser(host.path);
  const seen: Error[] = [];
  device.onGone((error) => seen.push(error));
  process.kill(host.pid, 'SIGKILL');
  const bar = device.region(PciRegion.BAR0);
  let code = '';
  for (let tries = 0; code === '' && tries < 1e6; tries++) {
    try {
      bar.read32(0);
    } catch (error) {
      code = (error as NicError).code;
    }
  }
  assert.is(code, 'PEER_GONE');
  assert.is(seen.length, 0, 'not from within the access');
  await Promise.resolve();
  assert.is(seen.length, 1);
  device.close();
  await until(() => host.child.signalCode !== null, 'the exit');
  await host.stop();
});

gone('silent: the request that waits ends with PEER_GONE, and so does the connection', async () => {
  const host = await startHost();
  const device = await connectVfioUser(host.path, { timeoutMs: 300 });
  const error = errorOf(() => run(device, Op.SLEEP, { value: 3000 }));
  assert.is(error.code, 'PEER_GONE');
  assert.match(error.message, 'REGION_WRITE');
  assert.is(errorOf(() => device.region(PciRegion.BAR0).read32(0)).code, 'PEER_GONE');
  device.close();
  host.child.kill('SIGKILL');
  await until(() => host.child.signalCode !== null, 'the exit');
  await host.stop();
});

gone('stopped server: the connect itself gives up', async () => {
  const host = await startHost();
  host.child.kill('SIGSTOP');
  const before = countFds();
  const error = await connectError(host.path, { timeoutMs: 100 });
  assert.is(error.code, 'PEER_GONE');
  assert.match(error.hint ?? '', 'thread');
  assert.is(countFds(), before);
  host.child.kill('SIGKILL');
  await until(() => host.child.signalCode !== null, 'the exit');
  await host.stop();
});

gone('no socket, a stale one, a path too long', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'barewire-'));
  assert.is((await connectError(join(directory, 'none'))).code, 'NO_SUCH_DEVICE');
  assert.is((await connectError(join(directory, 'x'.repeat(120)))).code, 'BAD_ADDRESS');
  const path = join(directory, 's');
  const host = await startHost('events', path);
  host.child.kill('SIGKILL');
  await until(() => host.child.signalCode !== null, 'the exit');
  assert.ok(existsSync(path));
  const error = await connectError(path);
  assert.is(error.code, 'PEER_GONE');
  assert.ok(error.hint);
  rmSync(directory, { recursive: true });
});

gone.run();
