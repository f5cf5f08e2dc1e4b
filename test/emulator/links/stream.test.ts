/** QEMU's stream sockets as a port: framing, room, and sockets that are somebody else's. */
import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectSocket, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { connect, frameMemory } from '../../../src/emulator/link.js';
import { StreamPort } from '../../../src/emulator/links/stream.js';
import { NicError } from '../../../src/errors.js';
import { DIST } from '../../support/child.js';
import { until } from '../../support/hang.js';
import { suite } from '../../support/suite.js';
import { BROADCAST, frame, memoryOf, Recorder } from '../support.js';

const directory = mkdtempSync(join(tmpdir(), 'barewire-stream-'));
const streams = suite('QEMU stream');

/** What a test has opened, so that one that fails ends all the same. */
const open: { close(): void }[] = [];

function opened(port: StreamPort): StreamPort {
  open.push(port);
  return port;
}

const listen = (path: string): StreamPort => opened(StreamPort.listen(path));

function dial(path: string): Socket {
  const socket = connectSocket(path);
  open.push({ close: () => socket.destroy() });
  return socket;
}

function refusal(run: () => unknown): NicError {
  try {
    run();
  } catch (error) {
    assert.instance(error, NicError);
    return error as NicError;
  }
  throw new Error('it was taken');
}

/** A frame as it is on the stream. */
function framed(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

streams('speaks length and frame, in both directions, however the bytes are cut', async () => {
  const path = join(directory, 'wire.sock');
  const port = listen(path);
  const wire = new Recorder();
  connect(port, wire);
  assert.is(port.room(), 0);
  assert.not(port.receiving());
  const peer = dial(path);
  const got: Buffer[] = [];
  peer.on('data', (chunk) => got.push(chunk));
  const bytes = frame(BROADCAST, 70);
  const message = Buffer.concat([
    framed(bytes),
    framed(bytes.subarray(0, 13)),
    framed(bytes.subarray(0, 20)),
  ]);
  for (const cut of [message.subarray(0, 3), message.subarray(3, 50), message.subarray(50)]) {
    peer.write(cut);
    await sleep(5);
    port.poll(64);
  }
  await until(() => {
    port.poll(64);
    return wire.frames.length === 2;
  }, 'it happens');
  assert.ok(port.receiving());
  assert.equal(wire.frames[0], bytes);
  assert.is(wire.frames[1]!.length, 60, 'padded');
  assert.ok(port.deliver(memoryOf(bytes), 0, 70));
  port.flush();
  await until(() => Buffer.concat(got).length === 74, 'it happens');
  assert.equal(Buffer.concat(got), framed(bytes));
  assert.equal(port.counters, { in: 2, out: 1, dropped: 0, malformed: 1, failures: 0 });
  peer.end();
  await until(() => !port.connected, 'it happens');
  assert.not(port.deliver(memoryOf(bytes), 0, 70));
  assert.is(port.counters.dropped, 1);
  port.close();
  port.close();
  assert.not(existsSync(path));
});

streams('a length that no frame has ends the connection, said a few times only', async () => {
  const path = join(directory, 'garbage.sock');
  const port = listen(path);
  const told: NicError[] = [];
  port.onError = (error) => told.push(error);
  for (let i = 0; i < 6; i++) {
    const peer = dial(path);
    peer.on('error', () => {});
    await until(() => port.connected, 'it happens');
    peer.write(Buffer.of(0xff, 0xff, 0xff, 0xff));
    await until(() => {
      port.poll(64);
      return !port.connected;
    }, 'it happens');
    peer.destroy();
  }
  assert.is(port.counters.failures, 6);
  assert.is(told.length, 3);
  assert.is(told[0]!.message, `The peer of ${path} is disconnected: it sent a frame of 4294967295 bytes`);
  port.close();
});

streams('a frame too long for the stream, and a peer that does not read: dropped and counted', async () => {
  const path = join(directory, 'slow.sock');
  const port = listen(path);
  const peer = dial(path);
  peer.pause();
  await until(() => port.connected, 'it happens');
  assert.not(port.deliver(frameMemory(70_000), 0, 69_633));
  assert.is(port.counters.dropped, 1);
  const memory = frameMemory(60_000);
  for (let i = 0; i < 1000 && port.counters.dropped === 1; i++) {
    port.deliver(memory, 0, 60_000);
    port.flush();
  }
  assert.ok(port.counters.dropped > 1, 'bounded');
  assert.is(port.room(), 0);
  peer.destroy();
  port.close();
});

streams('with flow control frames wait for room', async () => {
  const path = join(directory, 'patient.sock');
  const server = listen(path);
  const client = opened(await StreamPort.connect(path));
  await until(() => server.connected, 'it happens');
  const wire = new Recorder();
  connect(client, wire, { flowControl: true });
  wire.available = 0;
  for (let i = 0; i < 5; i++) server.deliver(memoryOf(frame(BROADCAST)), 0, 60);
  server.flush();
  await new Promise<void>((resolve) => {
    client.onReadable = resolve;
  });
  assert.is(client.poll(8), 0);
  wire.available = 2;
  assert.is(client.poll(8), 2);
  wire.available = 100;
  assert.is(client.poll(8), 3);
  client.close();
  server.close();
});

streams('a new peer takes the place of the old one', async () => {
  const path = join(directory, 'next.sock');
  const server = listen(path);
  const wire = new Recorder();
  connect(server, wire);
  const peers: Socket[] = [];
  for (const length of [60, 61]) {
    const peer = dial(path);
    peers.push(peer);
    peer.write(framed(frame(BROADCAST, length)));
    await until(() => {
      server.poll(8);
      return wire.frames.at(-1)?.length === length;
    }, 'it happens');
  }
  await until(() => peers[0]!.closed, 'it happens');
  assert.not(peers[1]!.closed);
  peers[1]!.destroy();
  server.close();
});

streams('a file at the path is left alone', () => {
  const path = join(directory, 'precious.txt');
  writeFileSync(path, 'precious');
  const error = refusal(() => StreamPort.listen(path));
  assert.is(error.code, 'BAD_ADDRESS');
  assert.match(error.message, path);
  assert.is(readFileSync(path, 'utf8'), 'precious');
});

streams('a socket that somebody listens at is left to them', async () => {
  const path = join(directory, 'taken.sock');
  const owner = createServer();
  await new Promise<void>((resolve) => owner.listen(path, resolve));
  const { ino } = lstatSync(path);
  assert.is(refusal(() => StreamPort.listen(path)).code, 'ALREADY_OPEN');
  assert.is(lstatSync(path).ino, ino);
  await new Promise((resolve) => owner.close(resolve));
});

streams('a socket that a killed process left is taken over', () => {
  const path = join(directory, 'stale.sock');
  const script = `
    import { StreamPort } from '${DIST}src/emulator/links/stream.js';
    StreamPort.listen('${path}');
    process.kill(process.pid, 'SIGKILL');
  `;
  assert.throws(() => execFileSync(process.execPath, ['--input-type=module', '--eval', script]));
  assert.ok(lstatSync(path).isSocket());
  const port = listen(path);
  port.close();
  assert.not(existsSync(path));
});

streams('connecting where nobody is: said with the path', async () => {
  const nowhere = join(directory, 'nowhere.sock');
  const stale = join(directory, 'left.sock');
  const script = `require('net').createServer().listen('${stale}', () => process.kill(process.pid, 'SIGKILL'))`;
  assert.throws(() => execFileSync(process.execPath, ['--eval', script]));
  for (const [path, code] of [
    [nowhere, 'NO_SUCH_DEVICE'],
    [stale, 'PEER_GONE'],
  ] as const) {
    try {
      await StreamPort.connect(path);
      assert.unreachable('it was taken');
    } catch (error) {
      assert.instance(error, NicError);
      assert.is((error as NicError).code, code);
      assert.match((error as NicError).message, `Cannot connect to the peer at ${path}`);
      assert.ok((error as NicError).hint);
    }
  }
});

streams.after.each(() => {
  for (const one of open.splice(0)) one.close();
});

streams.after(() => rmSync(directory, { recursive: true }));
streams.run();
