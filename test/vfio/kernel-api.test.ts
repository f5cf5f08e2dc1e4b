/** The parts of the real kernel's interface that need no device: files, event counters, errors. */
import { mkdtempSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { PROT_READ, PROT_WRITE } from '../../src/syscalls/memory.js';
import { realKernel } from '../../src/vfio/kernel-api.js';
import { throwsNicError } from '../support/expect-error.js';
import { HANG_MS } from '../support/hang.js';
import { suite } from '../support/suite.js';

const folder = mkdtempSync(join(tmpdir(), 'barewire-kernel-'));
const real = suite('real kernel');
real.after(() => rmSync(folder, { recursive: true }));
real('reads, writes and maps at an offset', () => {
  const path = join(folder, 'file');
  writeFileSync(path, Buffer.alloc(8192, 1));
  const fd = realKernel.open(path);
  const bytes = new Uint8Array(4);
  assert.is(realKernel.pread(fd, 4096, bytes), 4);
  assert.equal([...bytes], [1, 1, 1, 1]);
  const mapping = realKernel.mmap(fd, 4096, 4096, PROT_READ | PROT_WRITE);
  assert.is(realKernel.pwrite(fd, 4100, Uint8Array.of(9)), 1);
  assert.is(new Uint8Array(mapping.buffer)[4], 9);
  assert.is(realKernel.pread(fd, 2 ** 41, bytes), 0, 'offsets beyond 32 bits');
  realKernel.munmap(mapping);
  realKernel.close(fd);
});
real('a missing file gives its errno', () => {
  const path = join(folder, 'missing');
  const error = throwsNicError('SYSCALL', /ENOENT/, () => realKernel.open(path));
  assert.is(error.errno, -2);
  assert.is(error.path, path);
  assert.is(realKernel.exists(path), false);
  assert.is(realKernel.canReadWrite(path), false);
  assert.is(realKernel.readLink(path), undefined);
  assert.is(realKernel.readText(path), undefined);
  assert.equal(realKernel.list(path), []);
});
real('an ioctl on what is not a device: the negative errno', () => {
  const path = join(folder, 'plain');
  writeFileSync(path, '');
  const fd = realKernel.open(path);
  assert.is(realKernel.ioctl(fd, 0x3b64, 0), -25);
  realKernel.close(fd);
  throwsNicError('SYSCALL', /close failed: EBADF/, () => realKernel.close(fd));
});
real('an event counter adds up, wakes, and is empty afterwards', async () => {
  const fd = realKernel.eventfd();
  assert.is(realKernel.readEventfd(fd), 0);
  const woken = new Promise<number>((resolve) => {
    const stop = realKernel.onReadable(fd, () => {
      stop();
      resolve(realKernel.readEventfd(fd));
    });
  });
  const keepAlive = setTimeout(() => {}, HANG_MS);
  writeSync(fd, new BigUint64Array([5n]));
  assert.is(await woken, 5);
  clearTimeout(keepAlive);
  realKernel.close(fd);
});
real('addresses of arrays are stable and distinct', () => {
  const bytes = new Uint8Array(new ArrayBuffer(16));
  const address = realKernel.addressOf(bytes);
  assert.is(typeof address, 'bigint');
  assert.is(realKernel.addressOf(bytes), address);
  assert.is(realKernel.addressOf(bytes.subarray(4)), address + 4n);
});
real.run();
