/** The folder of an emulator's sockets: made, removed, and removed by the next one where its owner was killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { closeFd } from '../../src/syscalls/descriptors.js';
import { ListeningSocket } from '../../src/syscalls/listening-socket.js';
import { unixBind, unixSocket } from '../../src/syscalls/unix-sockets.js';
import { makeSocketFolder } from '../../tools/socket-folder.js';
import { DIST } from '../support/child.js';
import { expectError } from '../support/expect-error.js';
import { fixtureSuite } from '../vfio/user/support/harness.js';

const test = fixtureSuite('folder of sockets', {
  start: () => ({}),
  enter: () => ({ base: mkdtempSync(join(tmpdir(), 'barewire-')) }),
  leave: ({ base }) => rmSync(base, { recursive: true }),
  stop: () => {},
});

const NAME = 'barewire-emulator-abc123';

function leaveSocket(path: string): void {
  const fd = unixSocket();
  assert.ok(unixBind(fd, path));
  closeFd(fd);
}

/** Makes a folder in a process of its own, which then waits. */
async function ownerOf(base: string): Promise<ChildProcess> {
  const script = `
    import { makeSocketFolder } from '${DIST}/tools/socket-folder.js';
    import { ListeningSocket } from '${DIST}/src/syscalls/listening-socket.js';
    const folder = makeSocketFolder(${JSON.stringify(base)});
    const sockets = [0, 1].map((port) => ListeningSocket.listen(folder.socketPath(port), 1));
    process.stdout.write('ready');
    setInterval(() => sockets, 1000);`;
  const owner = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(owner.stdout!, 'data');
  return owner;
}

async function kill(owner: ChildProcess): Promise<void> {
  const exit = once(owner, 'exit');
  owner.kill('SIGKILL');
  await exit;
}

test('is private, and gone at the end', ({ base }) => {
  const folder = makeSocketFolder(base);
  const [name] = readdirSync(base);
  assert.is(statSync(join(base, name!)).mode & 0o777, 0o700);
  const socket = ListeningSocket.listen(folder.socketPath(0), 1);
  assert.ok(existsSync(join(base, name!, 'port0.sock')));
  folder.remove();
  assert.equal(readdirSync(base), []);
  socket.close();
});

test('of a killed process is removed by the next one; of a living one it is not', async ({ base }) => {
  const [killed, living] = [await ownerOf(base), await ownerOf(base)];
  assert.is(readdirSync(base).length, 2);
  await kill(killed);
  const folder = makeSocketFolder(base);
  assert.is(readdirSync(base).length, 2, 'the living one’s, and the new one');
  folder.remove();
  await kill(living);
  makeSocketFolder(base).remove();
  assert.equal(readdirSync(base), []);
});

test('one that is empty, of a process that was killed in its first moment, is removed', ({ base }) => {
  mkdirSync(join(base, NAME), { mode: 0o700 });
  makeSocketFolder(base).remove();
  assert.equal(readdirSync(base), []);
});

test('what is not provably an emulator’s stays', ({ base }) => {
  const path = join(base, NAME);
  const unchanged = (): void => {
    makeSocketFolder(base).remove();
    assert.equal(readdirSync(base), [NAME]);
    rmSync(path, { recursive: true });
  };
  // another file in it
  mkdirSync(path, { mode: 0o700 });
  leaveSocket(join(path, 'port0.sock'));
  writeFileSync(join(path, 'notes'), 'precious');
  unchanged();
  // a file with the name of a socket
  mkdirSync(path, { mode: 0o700 });
  writeFileSync(join(path, 'port0.sock'), 'precious');
  unchanged();
  // others may write to it
  mkdirSync(path);
  chmodSync(path, 0o777);
  unchanged();
  // no folder
  writeFileSync(path, 'precious');
  unchanged();
  // a living socket in it
  mkdirSync(path, { mode: 0o700 });
  const socket = ListeningSocket.listen(join(path, 'port0.sock'), 1);
  unchanged();
  socket.close();
});

test('a link is not followed, another name is not touched', ({ base }) => {
  const elsewhere = join(base, 'elsewhere');
  mkdirSync(elsewhere, { mode: 0o700 });
  leaveSocket(join(elsewhere, 'port0.sock'));
  symlinkSync(elsewhere, join(base, NAME));
  mkdirSync(join(base, 'barewire-abc123'), { mode: 0o700 });
  makeSocketFolder(base).remove();
  assert.equal(readdirSync(base).sort(), ['barewire-abc123', NAME, 'elsewhere']);
  assert.ok(existsSync(join(elsewhere, 'port0.sock')));
});

test('where no folder can be made: the path, and what names it', ({ base }) => {
  const missing = join(base, 'missing');
  const error = expectError(
    'SYSCALL',
    () => makeSocketFolder(missing),
    /^Cannot make a folder for sockets in .*missing: ENOENT/,
  );
  assert.match(error.hint ?? '', 'XDG_RUNTIME_DIR');
});

test.run();
