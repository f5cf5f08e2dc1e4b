/** Message framing, descriptors beside messages, and the socket file's life. */
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { NicError } from '../../../src/errors.js';
import { ListeningSocket } from '../../../src/syscalls/listening-socket.js';
import { acceptConnection } from '../../../src/syscalls/unix-sockets.js';
import { encodeCommand } from '../../../src/vfio/user/protocol.js';
import { closeFds, connectSocket, MessageSocket } from '../../../src/vfio/user/socket.js';
import { suite } from '../../support/suite.js';
import { connectRaw, countFds, startHost, until } from './support/harness.js';

const test = suite('vfio-user socket');
const directory = mkdtempSync(join(tmpdir(), 'barewire-'));
const path = join(directory, 's');
test.after(() => rmSync(directory, { recursive: true, force: true }));

const MAX_BYTES = 65536;
const MAX_FDS = 4;

function withPair(action: (a: MessageSocket, b: MessageSocket) => void): void {
  const listener = ListeningSocket.listen(path, 1);
  const a = new MessageSocket(connectRaw(path), path, MAX_BYTES, MAX_FDS);
  const b = new MessageSocket(acceptConnection(listener.fd), path, MAX_BYTES, MAX_FDS);
  try {
    action(a, b);
  } finally {
    a.close();
    b.close();
    listener.close();
  }
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    assert.instance(error, NicError);
    return (error as NicError).code;
  }
  return 'no error';
}

async function connectCode(path: string): Promise<string> {
  try {
    closeSync(await connectSocket(path, performance.now() + 100));
  } catch (error) {
    assert.instance(error, NicError);
    return (error as NicError).code;
  }
  return 'no error';
}

test('messages arrive whole, in order, however they are cut', () => {
  const messages = fc.array(fc.uint8Array({ maxLength: 200 }), { minLength: 1, maxLength: 6 });
  const cuts = fc.infiniteStream(fc.integer({ min: 1, max: 60 }));
  fc.assert(
    fc.property(messages, cuts, (bodies, cut) => {
      withPair((a, b) => {
        const stream = Buffer.concat(bodies.map((body, id) => encodeCommand(id, 1, body)));
        const received: number[][] = [];
        for (let at = 0; at < stream.length; ) {
          at += a.send(stream.subarray(at, at + cut.next().value));
          for (let message = b.receive(true); message !== undefined; message = b.receive(true)) {
            assert.is(message.header.id, received.length);
            received.push([...message.body]);
          }
        }
        assert.equal(
          received,
          bodies.map((body) => [...body]),
        );
      });
    }),
    { numRuns: 100 },
  );
});

test('a message larger than the first buffer', () => {
  withPair((a, b) => {
    const body = new Uint8Array(MAX_BYTES - 16).map((_, i) => i % 251);
    const bytes = encodeCommand(9, 1, body);
    assert.is(a.send(bytes), bytes.length);
    assert.equal([...b.receive(true)!.body], [...body]);
  });
});

test('descriptors stay with their message, although several messages wait', () => {
  withPair((a, b) => {
    const fds = [openSync('/dev/null', 'r'), openSync('/dev/zero', 'r')];
    a.send(encodeCommand(1, 1, new Uint8Array(20)));
    a.send(encodeCommand(2, 1, new Uint8Array(20)), fds);
    a.send(encodeCommand(3, 1), fds.slice(0, 1));
    const counts = [b.receive(true)!, b.receive(true)!, b.receive(true)!].map(({ fds: received }) => {
      const count = received.length;
      closeFds(received);
      return count;
    });
    assert.equal(counts, [0, 2, 1]);
    for (const fd of fds) closeSync(fd);
  });
});

test('a size below the header or above the limit ends the conversation', () => {
  for (const sizeBytes of [0, 15, MAX_BYTES + 1, 0xffffffff]) {
    withPair((a, b) => {
      const bytes = encodeCommand(1, 1);
      new DataView(bytes.buffer).setUint32(4, sizeBytes, true);
      a.send(bytes);
      assert.is(
        codeOf(() => b.receive(true)),
        'PROTOCOL',
      );
    });
  }
});

test('too many descriptors end the conversation, and all are closed', async () => {
  const before = countFds();
  const fd = openSync('/dev/null', 'r');
  for (const count of [MAX_FDS + 1, 253]) {
    withPair((a, b) => {
      a.send(encodeCommand(1, 1), new Array(count).fill(fd));
      assert.is(
        codeOf(() => b.receive(true)),
        'PROTOCOL',
      );
    });
  }
  closeSync(fd);
  await until(() => countFds() === before, 'all are closed');
});

test('descriptors of a message that never ends are closed with the socket', async () => {
  const before = countFds();
  const fd = openSync('/dev/null', 'r');
  withPair((a, b) => {
    a.send(encodeCommand(1, 1, new Uint8Array(8)).subarray(0, 20), [fd]);
    assert.is(b.receive(true), undefined);
    assert.ok(countFds() > before + 1);
  });
  closeSync(fd);
  await until(() => countFds() === before, 'it is closed');
});

test('a peer that hung up is an error for both directions', () => {
  withPair((a, b) => {
    a.close();
    assert.is(
      codeOf(() => b.receive(true)),
      'PEER_GONE',
    );
    assert.is(
      codeOf(() => b.send(encodeCommand(1, 1))),
      'PEER_GONE',
    );
  });
});

test('a blocking receive gives up at the deadline, although bytes trickle in', () => {
  withPair((a, b) => {
    const bytes = encodeCommand(1, 1);
    a.send(bytes.subarray(0, 8));
    assert.is(b.receive(false, performance.now() - 1), undefined);
    a.send(bytes.subarray(8));
    assert.is(b.receive(false, performance.now() - 1)?.header.id, 1);
  });
});

test('the file is there while listened on, and another listener is refused', () => {
  const listener = ListeningSocket.listen(path, 1);
  assert.ok(existsSync(path));
  assert.is(
    codeOf(() => ListeningSocket.listen(path, 1)),
    'ALREADY_OPEN',
  );
  listener.close();
  listener.close();
  assert.not(existsSync(path));
});

test('a file that was replaced by another server is left alone', () => {
  const first = ListeningSocket.listen(path, 1);
  rmSync(path);
  const second = ListeningSocket.listen(path, 1);
  first.close();
  assert.ok(existsSync(path));
  second.close();
  assert.not(existsSync(path));
});

test('the file of a killed server is replaced', async () => {
  const killed = await startHost('events', path);
  killed.child.kill('SIGKILL');
  await until(() => killed.child.signalCode !== null, 'the host ends');
  assert.ok(existsSync(path));
  assert.is(await connectCode(path), 'PEER_GONE');
  ListeningSocket.listen(path, 1).close();
  assert.not(existsSync(path));
});

test('a file that is not a socket is not touched', () => {
  writeFileSync(path, 'precious');
  assert.is(
    codeOf(() => ListeningSocket.listen(path, 1)),
    'BAD_ADDRESS',
  );
  assert.ok(existsSync(path));
  rmSync(path);
});

test('paths that cannot be a socket’s', async () => {
  const before = countFds();
  for (const bad of ['', 'x'.repeat(108), 'a\0b']) {
    assert.is(
      codeOf(() => ListeningSocket.listen(bad, 1)),
      'BAD_ADDRESS',
    );
    assert.is(await connectCode(bad), 'BAD_ADDRESS');
  }
  assert.is(await connectCode(join(directory, 'none')), 'NO_SUCH_DEVICE');
  assert.is(countFds(), before);
});

test.run();
