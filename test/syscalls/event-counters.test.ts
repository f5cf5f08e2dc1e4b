/** Counters that another process may hold: read and signalled without waiting, whatever their flags. */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, symlinkSync, writeSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { eventfd, setBlocking } from '../../src/syscalls/descriptors.js';
import {
  canReadWithoutWaiting,
  isEventfd,
  prepareSignals,
  readEventfd,
  signalEventfd,
  signalTrusted,
} from '../../src/syscalls/event-counters.js';
import { MFD_CLOEXEC, memfdCreate } from '../../src/syscalls/memory.js';
import { suite } from '../support/suite.js';

const { EBADF, EINVAL } = constants.errno;
const FULL = 0xfffffffffffffffen;

const test = suite('event counters');

test('this kernel can do both', () => {
  assert.is(prepareSignals(), 0);
  assert.ok(canReadWithoutWaiting());
});

for (const blocking of [false, true]) {
  test(`signals are counted and read${blocking ? ', in blocking mode too' : ''}`, () => {
    const fd = eventfd();
    setBlocking(fd, blocking);
    assert.is(readEventfd(fd), 0);
    for (let i = 0; i < 3; i++) assert.is(signalEventfd(fd), 0);
    assert.is(readEventfd(fd), 3);
    assert.is(readEventfd(fd), 0);
    closeSync(fd);
  });
}

test('a full counter stays full', () => {
  const fd = eventfd();
  setBlocking(fd, true);
  writeSync(fd, new BigUint64Array([FULL]));
  for (let i = 0; i < 3; i++) assert.is(signalEventfd(fd), 0);
  const count = new BigUint64Array(1);
  readSync(fd, count);
  assert.is(count[0], FULL + 1n);
  closeSync(fd);
});

test('many signals: what the kernel reports of each is taken off', () => {
  const fd = eventfd();
  for (let i = 0; i < 5000; i++) assert.is(signalEventfd(fd), 0);
  assert.is(readEventfd(fd), 5000);
  closeSync(fd);
});

test('what is no counter is refused', () => {
  const memory = memfdCreate('no-counter', MFD_CLOEXEC);
  assert.is(signalEventfd(memory), EINVAL);
  closeSync(memory);
  assert.is(signalEventfd(memory), EBADF);
  const fd = eventfd();
  assert.is(signalEventfd(fd), 0, 'and the next signal works');
  assert.is(readEventfd(fd), 1);
  closeSync(fd);
});

test('the plain way: counts, and lets a full counter be', () => {
  const fd = eventfd();
  assert.is(signalTrusted(fd), 0);
  assert.is(readEventfd(fd), 1);
  writeSync(fd, new BigUint64Array([FULL]));
  assert.is(signalTrusted(fd), 0);
  closeSync(fd);
  assert.is(signalTrusted(fd), EBADF);
});

test('what is an eventfd and what is none', () => {
  const folder = mkdtempSync(join(tmpdir(), 'barewire-'));
  const lookalike = join(folder, 'anon_inode:[eventfd]');
  symlinkSync('/dev/null', lookalike);
  const fds = [openSync('/dev/null', 'r'), openSync('/', 'r'), openSync(lookalike, 'r')];
  assert.equal(fds.map(isEventfd), [false, false, false]);
  const counter = eventfd();
  assert.ok(isEventfd(counter));
  for (const fd of [...fds, counter]) closeSync(fd);
  assert.not(isEventfd(counter), 'closed');
  rmSync(folder, { recursive: true });
});
test.run();
