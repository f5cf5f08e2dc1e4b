/** What listens at a path and is no vfio-user server: each gets a clear error with a hint, and nothing stays open. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { connectVfioUser } from '../../../src/vfio/user/client.js';
import { expectRejection } from '../../support/expect-error.js';
import { suite } from '../../support/suite.js';
import { countFds } from './support/harness.js';

const folder = mkdtempSync(join(tmpdir(), 'bw-peers-'));
const path = join(folder, 'peer.sock');
/** For peers that are to be given up on. */
const GIVE_UP_MS = 100;

/** Answers each message with these bytes. */
const answering = (answer: (message: Buffer) => Uint8Array | string) => (socket: Socket) => {
  socket.on('data', (message) => socket.write(answer(message)));
};

/** A reply to the message with these flags and this body (vfio-user, "Message header"). */
function reply(message: Buffer, flags: number, body: Uint8Array, errno = 0): Uint8Array {
  const header = Buffer.alloc(16);
  message.copy(header, 0, 0, 4);
  header.writeUInt32LE(16 + body.length, 4);
  header.writeUInt32LE(flags, 8);
  header.writeUInt32LE(errno, 12);
  return Buffer.concat([header, body]);
}
const REPLY = 1;
const ERROR = 1 << 5;
const OTHER_VERSION = Buffer.from([7, 0, 9, 0, 0x7b, 0x7d, 0]);

const NO_SERVER = /vfio-user server may listen there/;
const WRONG: Readonly<Record<string, [Server | ((socket: Socket) => void), string, RegExp, RegExp]>> = {
  'a web server': [
    createHttpServer((_, response) => response.end('hello')),
    'PROTOCOL',
    /sent what is no vfio-user message: "HTTP\/1.1 400 Bad"$/,
    NO_SERVER,
  ],
  'a shell': [
    (socket) => socket.write('$ \u001b[1mbash\u001b[0m: command not found\n'),
    'PROTOCOL',
    /with a size of [0-9]+ bytes$/,
    NO_SERVER,
  ],
  'a mail server': [
    (socket) => socket.write('220 mail.example ESMTP\r\n'),
    'PROTOCOL',
    /message: "220 mail.example"$/,
    NO_SERVER,
  ],
  'an agent that answers in five bytes': [
    answering(() => Uint8Array.of(0, 0, 0, 1, 5)),
    'PEER_GONE',
    /did not answer VERSION within 100 ms/,
    /no vfio-user server/,
  ],
  'one that says nothing': [() => {}, 'PEER_GONE', /did not answer VERSION/, /no vfio-user server/],
  'one that hangs up': [
    (socket) => socket.destroy(),
    'PEER_GONE',
    /hung up on a new client/,
    /one client at a time.*no vfio-user server hangs up/,
  ],
  'one that listens and hangs up': [
    (socket) => socket.once('data', () => socket.end()),
    'PEER_GONE',
    /hung up on a new client/,
    /one client at a time/,
  ],
  'an echo': [
    answering((message) => message),
    'PROTOCOL',
    /something else than the reply to VERSION/,
    NO_SERVER,
  ],
  zeros: [(socket) => socket.write(Buffer.alloc(64)), 'PROTOCOL', /with a size of 0 bytes/, NO_SERVER],
  'a server that refuses': [
    answering((message) => reply(message, REPLY | ERROR, new Uint8Array(0), 22)),
    'VFIO',
    /refused VERSION: EINVAL/,
    /What the server printed/,
  ],
  'a server of another version': [
    answering((message) => reply(message, REPLY, OTHER_VERSION)),
    'PROTOCOL',
    /speaks version 7\.9 where 0\.0 was proposed$/,
    NO_SERVER,
  ],
};

const peers = suite('peers that are no vfio-user servers');

peers.after(() => rmSync(folder, { recursive: true }));

for (const [name, [peer, code, message, hint]] of Object.entries(WRONG)) {
  peers(name, async () => {
    const open = new Set<Socket>();
    const server = typeof peer === 'function' ? createServer(peer) : peer;
    server.on('connection', (socket: Socket) => {
      open.add(socket);
      socket.on('error', () => {});
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const before = countFds();
    const patient = code !== 'PEER_GONE' || /hung up/.test(message.source);
    const options = patient ? {} : { timeoutMs: GIVE_UP_MS };
    const error = await expectRejection(code as 'PROTOCOL', connectVfioUser(path, options));
    assert.match(error.message, message);
    assert.match(error.message, path);
    assert.match(error.hint ?? '', hint);
    for (const socket of open) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    assert.ok(countFds() < before, 'the client has closed its socket, as the server has');
  });
}

peers('a file that is no socket, and none at all', async () => {
  writeFileSync(path, 'text');
  const file = await expectRejection('PEER_GONE', connectVfioUser(path));
  assert.match(file.hint ?? '', /it is no socket/);
  rmSync(path);
  const nothing = await expectRejection('NO_SUCH_DEVICE', connectVfioUser(path));
  assert.match(nothing.hint ?? '', /Nothing is there/);
});

peers.run();
