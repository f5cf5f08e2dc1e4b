/** The one class of errors: what it says, and errno as Node.js has it, wherever an error comes from. */
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { CaptureWriter } from '../src/capture/capture-writer.js';
import { StreamPort } from '../src/emulator/links/stream.js';
import { errnoName, errnoText, isErrno, NicError } from '../src/errors.js';
import { open } from '../src/index.js';
import { ioctl } from '../src/syscalls/ioctl.js';
import { memfdCreate, mmap } from '../src/syscalls/memory.js';
import { unixConnect, unixListen } from '../src/syscalls/unix-sockets.js';
import { realKernel } from '../src/vfio/kernel-api.js';
import { suite } from './support/suite.js';

const { EBADF, EBUSY, EINVAL, ENOENT, ENOSPC } = constants.errno;
const text = suite('errno as text');

text('of either sign: as the kernel returns it, and as Node.js has it', () => {
  for (const errno of [EBUSY, -EBUSY]) {
    assert.is(errnoName(errno), 'EBUSY');
    assert.is(errnoText(errno), 'EBUSY (resource busy or locked)');
  }
  for (const [name, errno] of Object.entries(constants.errno)) {
    // Two names of one number, and those that Node.js has no name for.
    if (name === 'EWOULDBLOCK' || /^errno/.test(errnoName(errno))) continue;
    assert.is(errnoName(errno), name === 'EOPNOTSUPP' ? 'ENOTSUP' : name);
    assert.is(errnoName(-errno), errnoName(errno));
    assert.is(errnoText(-errno), errnoText(errno));
  }
});

text('numbers without a name, such as ENOTSUPP of the kernel', () => {
  for (const errno of [524, -524])
    assert.equal([errnoName(errno), errnoText(errno)], ['errno 524', 'errno 524']);
});

text.run();

const made = suite('NicError');

made('errno is negative, however it was given, and the message ends with it', () => {
  for (const errno of [EBUSY, -EBUSY]) {
    const error = new NicError('GROUP_BUSY', 'Cannot open it', {
      errno,
      syscall: 'open',
      path: '/x',
      hint: 'Wait.',
    });
    assert.is(error.errno, -16);
    assert.is(error.message, 'Cannot open it: EBUSY (resource busy or locked)');
    assert.equal([error.code, error.syscall, error.path, error.hint], ['GROUP_BUSY', 'open', '/x', 'Wait.']);
    assert.is(error.name, 'NicError');
  }
});

made('without details it has none, and its message is as it was given', () => {
  const error = new NicError('BAD_OPTION', 'No.');
  assert.equal(
    [error.errno, error.syscall, error.path, error.hint],
    [undefined, undefined, undefined, undefined],
  );
  assert.is(error.message, 'No.');
  assert.not('cause' in error);
  assert.is(new NicError('SYSCALL', 'No.', { errno: undefined, cause: error }).cause, error);
});

made('made of one of Node.js: the same errno', () => {
  const cause = Object.assign(new Error('ENOENT: no such file'), { errno: -ENOENT, code: 'ENOENT' });
  const error = new NicError('SYSCALL', 'Cannot read it', { errno: cause.errno, cause });
  assert.is(error.errno, cause.errno);
  assert.ok(isErrno(error, 'ENOENT') && isErrno(cause, 'ENOENT'));
});

made('isErrno: of both kinds of errors, and of nothing else', () => {
  const error = new NicError('SYSCALL', 'x', { errno: EBUSY });
  assert.equal([isErrno(error, 'EBUSY'), isErrno(error, 'EPERM')], [true, false]);
  for (const other of [
    new NicError('CLOSED', 'x'),
    new Error('EBUSY'),
    undefined,
    null,
    'EBUSY',
    { code: 'EBUSY' },
  ])
    assert.not(isErrno(other, 'EBUSY'));
  // Its `code` is a step's, not the name of an errno.
  assert.not(isErrno(error, 'SYSCALL'));
});

made.run();

const folder = mkdtempSync(join(tmpdir(), 'bw-errors-'));
const missing = join(folder, 'no', 'such', 'file');
const thrown = suite('errno of what really fails');

thrown.after(() => rmSync(folder, { recursive: true, force: true }));

for (const [what, action, errno] of [
  ['a recording on a full disk', () => CaptureWriter.open('/dev/full', { overwrite: true }), ENOSPC],
  ['a device whose socket is not there', () => open(`vfio-user:${missing}`), ENOENT],
  ['a stream whose socket is not there', () => StreamPort.connect(missing), ENOENT],
  ['ioctl of no descriptor', () => ioctl(-1, 0, 'X', 0), EBADF],
  ['mmap of no size', () => mmap(-1, 0, 0, 0, 0x22), EINVAL],
  ['memfd_create with unknown flags', () => memfdCreate('x', 0x4000_0000), EINVAL],
  ['listen of no descriptor', () => unixListen(-1, missing, 1), EBADF],
  ['connect of no descriptor', () => unixConnect(-1, missing), EBADF],
  ['a VFIO node that is not there', () => realKernel.open(missing), ENOENT],
  ['a region of no descriptor', () => realKernel.pread(1_000_000, 0, new Uint8Array(4)), EBADF],
] as const) {
  thrown(`${what}: ${errnoName(errno)}, negative, and in the message`, async () => {
    let error: unknown;
    try {
      await action();
    } catch (caught) {
      error = caught;
    }
    assert.instance(error, NicError);
    const { errno: given, message } = error as NicError;
    assert.is(given, -errno, message);
    assert.ok(message.includes(errnoText(errno)), message);
  });
}

thrown.run();
