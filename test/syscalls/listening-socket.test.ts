/** A listening socket's file: whose it is, what it replaces and what it does not, and its end. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { NicError } from '../../src/errors.js';
import { closeFd } from '../../src/syscalls/descriptors.js';
import { ListeningSocket } from '../../src/syscalls/listening-socket.js';
import { unixBind, unixConnect, unixSocket, unixSocketState } from '../../src/syscalls/unix-sockets.js';
import { DIST, runScript } from '../support/child.js';
import { countFds, fixtureSuite } from '../vfio/user/support/harness.js';

const test = fixtureSuite('listening socket', {
  start: () => ({}),
  enter: () => {
    const folder = mkdtempSync(join(tmpdir(), 'barewire-'));
    return { folder, path: join(folder, 's'), before: countFds() };
  },
  leave: ({ folder, before }) => {
    rmSync(folder, { recursive: true, force: true });
    assert.is(countFds(), before, 'all descriptors are closed');
  },
  stop: () => {},
});

function errorOf(action: () => unknown): NicError {
  try {
    action();
  } catch (error) {
    assert.instance(error, NicError, `not a NicError: ${error}`);
    return error as NicError;
  }
  return assert.unreachable('no error') as never;
}

/** What a killed process leaves. */
function leaveDead(path: string): void {
  const fd = unixSocket();
  assert.ok(unixBind(fd, path));
  closeFd(fd);
}

for (const umask of [0, 0o022, 0o077]) {
  test(`belongs to the user alone, with umask ${umask.toString(8)}`, ({ path }) => {
    const before = process.umask(umask);
    try {
      const socket = ListeningSocket.listen(path, 1);
      assert.is(lstatSync(path).mode & 0o777, 0o600);
      socket.close();
    } finally {
      process.umask(before);
    }
  });
}

test('a path at which no socket can be: the path, and why', ({ folder }) => {
  const missing = errorOf(() => ListeningSocket.listen(join(folder, 'missing', 's'), 1));
  assert.is(missing.code, 'BAD_ADDRESS');
  assert.match(missing.message, /^Cannot listen at .*missing\/s: ENOENT/);
  assert.match(missing.hint ?? '', /no folder .*missing\./);
  writeFileSync(join(folder, 'file'), '');
  const inFile = errorOf(() => ListeningSocket.listen(join(folder, 'file', 's'), 1));
  assert.match(inFile.hint ?? '', /no folder .*file\./);
  const inProc = errorOf(() => ListeningSocket.listen('/proc/s', 1));
  assert.match(inProc.hint ?? '', /\/proc/);
  assert.not.match(inProc.hint ?? '', 'no folder');
});

test('replaces the socket of a dead process', ({ path }) => {
  leaveDead(path);
  const socket = ListeningSocket.listen(path, 1);
  assert.is(lstatSync(path).mode & 0o777, 0o600);
  const fd = unixSocket();
  unixConnect(fd, path);
  closeFd(fd);
  socket.close();
  assert.not(existsSync(path));
});

test('refuses the path of a living one, which does not notice', async ({ path }) => {
  let connections = 0;
  const server = createServer(() => connections++);
  await once(server.listen(path), 'listening');
  const error = errorOf(() => ListeningSocket.listen(path, 1));
  assert.is(error.code, 'ALREADY_OPEN');
  assert.match(error.hint!, /choose another path/);
  const client = connect(path);
  await once(client, 'connect');
  client.destroy();
  await new Promise((resolve) => server.getConnections(resolve));
  assert.is(connections, 1, 'only the connection of this test');
  await new Promise((resolve) => server.close(resolve));
});

test('refuses the path of a living one that does not listen yet', ({ path }) => {
  const fd = unixSocket();
  assert.ok(unixBind(fd, path));
  assert.is(unixSocketState(path), 'alive');
  assert.is(errorOf(() => ListeningSocket.listen(path, 1)).code, 'ALREADY_OPEN');
  assert.ok(existsSync(path));
  closeFd(fd);
  assert.is(unixSocketState(path), 'dead');
});

test('does not touch what is no socket: a file, a folder, a link', ({ folder, path }) => {
  writeFileSync(path, 'precious');
  assert.is(errorOf(() => ListeningSocket.listen(path, 1)).code, 'BAD_ADDRESS');
  assert.is(readFileSync(path, 'utf8'), 'precious');
  const directory = join(folder, 'directory');
  mkdirSync(directory);
  assert.is(errorOf(() => ListeningSocket.listen(directory, 1)).code, 'BAD_ADDRESS');
  const link = join(folder, 'link');
  symlinkSync(path, link);
  assert.is(errorOf(() => ListeningSocket.listen(link, 1)).code, 'BAD_ADDRESS');
  const dangling = join(folder, 'dangling');
  symlinkSync(join(folder, 'nothing'), dangling);
  assert.is(errorOf(() => ListeningSocket.listen(dangling, 1)).code, 'BAD_ADDRESS');
  assert.ok(lstatSync(dangling).isSymbolicLink());
});

test('removes at its end what is its own only', ({ path }) => {
  const first = ListeningSocket.listen(path, 1);
  rmSync(path);
  const second = ListeningSocket.listen(path, 1);
  first.close();
  assert.ok(existsSync(path));
  second.close();
  assert.not(existsSync(path));
  const third = ListeningSocket.listen(path, 1);
  rmSync(path);
  writeFileSync(path, 'precious');
  third.close();
  assert.is(readFileSync(path, 'utf8'), 'precious');
});

test('ends without its file or its folder, and twice', ({ folder, path }) => {
  const socket = ListeningSocket.listen(path, 1);
  renameSync(folder, `${folder}-gone`);
  socket.close();
  socket.close();
  assert.ok(existsSync(join(`${folder}-gone`, 's')));
  rmSync(`${folder}-gone`, { recursive: true });
});

test('serves a server of Node’s', async ({ path }) => {
  const socket = ListeningSocket.listen(path, 4);
  const server = createServer((peer) => peer.end('hello'));
  await once(server.listen({ fd: socket.fd }), 'listening');
  const client = connect(path);
  const [data] = await once(client, 'data');
  assert.is(String(data), 'hello');
  client.destroy();
  socket.removeFile();
  assert.not(existsSync(path));
  await new Promise((resolve) => server.close(resolve));
});

test('of a path that another process has locked, the error says so', ({ folder, path }) => {
  leaveDead(path);
  const { status, stderr } = runScript(`
    import { openSync } from 'node:fs';
    import { tryLock } from '${DIST}/src/syscalls/locks.js';
    import { ListeningSocket } from '${DIST}/src/syscalls/listening-socket.js';
    tryLock(openSync(${JSON.stringify(folder)}, 'r'));
    try { ListeningSocket.listen(${JSON.stringify(path)}, 1); } catch (error) {
      if (error.code === 'ALREADY_OPEN' && /is locked/.test(error.message)) process.exit(7);
      console.error(error);
    }`);
  assert.is(status, 7, stderr);
  assert.ok(existsSync(path));
});

/** Tries to listen when told to, says whether it could, and keeps the socket until its input ends. */
const CONTENDER = (path: string) => `
  import { ListeningSocket } from '${DIST}/src/syscalls/listening-socket.js';
  process.stdout.write('ready\\n');
  let socket;
  process.stdin.on('data', () => {
    try { socket = ListeningSocket.listen(${JSON.stringify(path)}, 1); process.stdout.write('won\\n'); }
    catch (error) { process.stdout.write(error.code + '\\n'); }
  });
  process.stdin.on('end', () => process.exit(0));`;

async function line(child: ChildProcess): Promise<string> {
  const [data] = await once(child.stdout!, 'data');
  return String(data).trim();
}

test('of processes that replace a dead socket at the same time, one wins', async ({ path }) => {
  for (let round = 0; round < 4; round++) {
    leaveDead(path);
    const contenders = Array.from({ length: 4 }, () =>
      spawn(process.execPath, ['--input-type=module', '--eval', CONTENDER(path)], {
        stdio: ['pipe', 'pipe', 'inherit'],
      }),
    );
    await Promise.all(contenders.map(line));
    const results = contenders.map(line);
    for (const contender of contenders) contender.stdin!.write('go');
    const said = await Promise.all(results);
    assert.equal([...said].sort(), ['ALREADY_OPEN', 'ALREADY_OPEN', 'ALREADY_OPEN', 'won']);
    // the winner's socket is the one at the path
    const fd = unixSocket();
    unixConnect(fd, path);
    closeFd(fd);
    const ends = contenders.map((contender) => once(contender, 'exit'));
    for (const contender of contenders) contender.kill('SIGKILL');
    await Promise.all(ends);
    rmSync(path);
  }
});
test.run();
