/** Memory that a peer hands over, and what else may come in its place: nothing it does to it later ends this process. */
import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { DmaRegion } from '../../../src/hugepage/dma-region.js';
import { eventfd } from '../../../src/syscalls/descriptors.js';
import {
  addFileSeals,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  memfdCreate,
} from '../../../src/syscalls/memory.js';
import { unixSocket } from '../../../src/syscalls/unix-sockets.js';
import * as protocol from '../../../src/vfio/user/protocol.js';
import { suite } from '../../support/suite.js';
import { fixtureSuite, RawClient, startHost, until } from './support/harness.js';
import { lingeringSocket } from './support/lingering-socket.js';
import { Op, Register } from './support/test-device.js';

const { EINVAL, EPERM } = constants.errno;
const { Command } = protocol;
const IOVA = 0x10000n;
const BYTES = 0x4000;

function mapErrno(client: RawClient, fd: number): number {
  const map = { flags: 3, offset: 0n, iova: IOVA, sizeBytes: BigInt(BYTES) };
  return client.errnoOf(Command.DMA_MAP, protocol.encodeDmaMap(map), [fd]);
}

function write32(client: RawClient, offset: number, value: number): void {
  const data = new Uint8Array(Uint32Array.of(value).buffer);
  const range = { index: 0, offset, count: 4 };
  assert.is(client.errnoOf(Command.REGION_WRITE, protocol.encodeRegionRange(range, data)), 0);
}

/** Has the device write over all of the memory; returns the operation's status. */
function fill(client: RawClient): number {
  write32(client, Register.IOVA_LOW, Number(IOVA));
  write32(client, Register.LENGTH, BYTES);
  write32(client, Register.OP, Op.FILL);
  const range = { index: 0, offset: Register.STATUS, count: 4 };
  const { body } = client.ask(Command.REGION_READ, protocol.encodeRegionRange(range));
  return protocol.decodeRegionData(body).data[0]!;
}

function memfd(flags: number, seals = 0): number {
  const fd = memfdCreate('hostile', MFD_CLOEXEC | flags);
  ftruncateSync(fd, BYTES);
  if (seals !== 0) assert.ok(addFileSeals(fd, seals));
  return fd;
}

/** A file in a folder, which is gone. */
function plainFile(folder: string): number {
  const path = join(mkdtempSync(join(folder, 'barewire-')), 'memory');
  const fd = openSync(path, 'w+');
  ftruncateSync(fd, BYTES);
  rmSync(join(path, '..'), { recursive: true });
  return fd;
}

/** Memory that its owner can shrink, by kind. */
function shrinkable(): [string, number][] {
  return [
    ['a memfd without seals', memfd(0)],
    ['a memfd that takes no more seals', memfd(MFD_ALLOW_SEALING, F_SEAL_SEAL)],
    ['a file', plainFile(tmpdir())],
    ['a file in memory', plainFile('/dev/shm')],
  ];
}

function serverSuite(name: string, trustClient: boolean) {
  return fixtureSuite(name, {
    start: async () => ({ host: await startHost('events', undefined, { trustClient }) }),
    enter: async ({ host }) => ({ client: await RawClient.admitted(host.path) }),
    leave: ({ client }) => client.close(),
    stop: ({ host }) => host.stop(),
  });
}

const server = serverSuite('vfio-user server: memory of a hostile client', false);

for (const [index, [name]] of shrinkable().entries()) {
  server(`${name} is refused, and said why`, async ({ client, host }) => {
    const [, fd] = shrinkable()[index]!;
    host.errors.length = 0;
    assert.is(mapErrno(client, fd), EPERM);
    ftruncateSync(fd, 0);
    assert.is(fill(client), 1, 'nothing is mapped');
    await until(() => host.errors.some((error) => /its owner could shrink/.test(error)), 'the report');
    closeSync(fd);
  });
}

server('a memfd that takes seals is sealed, and cannot shrink any more', ({ client }) => {
  const fd = memfd(MFD_ALLOW_SEALING);
  assert.is(mapErrno(client, fd), 0);
  assert.throws(() => ftruncateSync(fd, 0), /EPERM/);
  assert.is(fill(client), 0);
  closeSync(fd);
});

server('a memfd that its owner has sealed for good, as QEMU does', ({ client }) => {
  const fd = memfd(MFD_ALLOW_SEALING, F_SEAL_SHRINK | F_SEAL_SEAL);
  assert.is(mapErrno(client, fd), 0);
  assert.is(fill(client), 0);
  closeSync(fd);
});

server('what is no memory at all is refused', ({ client }) => {
  const fds = [
    openSync('/', 'r'),
    openSync('/dev/zero', 'r+'),
    openSync('/dev/ptmx', 'r+'),
    openSync('/proc/self/maps', 'r'),
    eventfd(),
    unixSocket(),
  ];
  for (const fd of fds) {
    assert.is(mapErrno(client, fd), EPERM);
    closeSync(fd);
  }
});

server('a FIFO that nobody writes to stops nothing', ({ client }) => {
  const folder = mkdtempSync(join(tmpdir(), 'barewire-'));
  const path = join(folder, 'fifo');
  assert.is(spawnSync('mkfifo', [path]).status, 0);
  const fd = openSync(path, 'r+');
  assert.is(mapErrno(client, fd), EPERM);
  closeSync(fd);
  rmSync(folder, { recursive: true });
});

server('a descriptor whose closing waits stops nobody', async ({ client, host }) => {
  const { fd, release } = await lingeringSocket();
  const read = protocol.encodeRegionRange({ index: 0, offset: 0, count: 4 });
  // the device is busy while this process closes its own descriptor, so that the server's is the last
  write32(client, Register.VALUE, 300);
  const sleep = protocol.encodeRegionRange(
    { index: 0, offset: Register.OP, count: 4 },
    new Uint8Array(Uint32Array.of(Op.SLEEP).buffer),
  );
  client.sendBytes(protocol.encodeCommand(1, Command.REGION_WRITE, sleep, true));
  client.sendBytes(protocol.encodeCommand(2, Command.REGION_READ, read), [fd]);
  closeSync(fd);
  assert.is(client.receive().header.errno, EINVAL);
  client.close();
  const next = await RawClient.admitted(host.path);
  assert.is(next.errnoOf(Command.REGION_READ, read), 0);
  next.close();
  release();
});
server.run();

const trusting = serverSuite('vfio-user server: memory of a client that is trusted', true);

for (const [index, [name]] of shrinkable().entries()) {
  trusting(`${name} is taken`, ({ client }) => {
    const [, fd] = shrinkable()[index]!;
    assert.is(mapErrno(client, fd), 0);
    assert.is(fill(client), 0);
    closeSync(fd);
  });
}

trusting('what is no file in memory is refused all the same', ({ client }) => {
  const fd = openSync('/dev/zero', 'r+');
  assert.is(mapErrno(client, fd), EINVAL);
  closeSync(fd);
});
trusting.run();

const ours = suite('DMA memory that a hostile server is given');

for (const pageSize of ['4K', 'auto'] as const) {
  ours(`cannot be cut or made longer: pages of ${pageSize}`, () => {
    const region = new DmaRegion({ sizeBytes: 4096, pageSize, name: 'sealed' });
    assert.throws(() => ftruncateSync(region.fd, 0), /EPERM/);
    assert.throws(() => ftruncateSync(region.fd, 2 * region.sizeBytes), /EPERM/);
    assert.not(addFileSeals(region.fd, F_SEAL_SHRINK), 'nor sealed against writing');
    new Uint8Array(region.buffer).fill(1);
    region.close();
  });
}
ours.run();
