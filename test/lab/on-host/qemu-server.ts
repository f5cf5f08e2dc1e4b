/**
 * The vfio-user client and the igb driver on a server that we did not write: QEMU's x-vfio-user-server with QEMU's model of
 * the 82576. Runs only when it is named: Debian's QEMU has no such server, and building one takes minutes.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { NetDevice } from '../../../src/driver/device.js';
import { open } from '../../../src/driver/registry.js';
import { sleep, waitFor } from '../processes.js';
import { dutMac } from '../qemu.js';
import { suite } from '../suite.js';
import { prepareLab } from '../vm.js';
import { isTestFrame, testFrame } from '../wire.js';

const FRAMES = 1000;
const WAITS = 20;
const LENGTH_BYTES = 4;

/** The other end of QEMU's `-netdev stream`: each frame after its length, most significant byte first. */
class Wire {
  readonly received: Buffer[] = [];
  readonly #socket: Socket;
  #rest = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => {}); // QEMU is killed in the end
    socket.on('data', (data) => {
      this.#rest = Buffer.concat([this.#rest, data]);
      for (;;) {
        const end = this.#rest.length >= LENGTH_BYTES ? LENGTH_BYTES + this.#rest.readUInt32BE() : Infinity;
        if (this.#rest.length < end) return;
        const frame = this.#rest.subarray(LENGTH_BYTES, end);
        if (isTestFrame(frame)) this.received.push(frame);
        this.#rest = this.#rest.subarray(end);
      }
    });
  }

  send(frame: Uint8Array): void {
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeUInt32BE(frame.length);
    this.#socket.write(Buffer.concat([length, frame]));
  }
}

/** Lengths from 60 to 1514 in turn. */
const frames = Array.from({ length: FRAMES }, (_, i) => testFrame(60 + ((i * 97) % 1455), i));

const server = suite("vfio-user client on QEMU's server");
let folder: string;
let listener: Server;
let qemu: ChildProcess;
let wire: Wire;
let nic: NetDevice;

server.before(async () => {
  const program = join(prepareLab({ qemu: 'server' }).qemuserver!, 'qemu');
  folder = mkdtempSync(join(tmpdir(), 'barewire-qemu-'));
  listener = createServer().listen(join(folder, 'wire'));
  await once(listener, 'listening');
  const connected = once(listener, 'connection') as Promise<[Socket]>;
  const socket = join(folder, 'device');
  const args = [
    ...['-machine', 'x-remote,vfio-user=on,auto-shutdown=off', '-nodefaults', '-display', 'none', '-m', '64'],
    ...['-netdev', `stream,id=n0,server=off,addr.type=unix,addr.path=${join(folder, 'wire')}`],
    ...['-device', `igb,id=d0,netdev=n0,mac=${dutMac(0)},romfile=,addr=4`],
    ...['-object', `x-vfio-user-server,id=v0,type=unix,path=${socket},device=d0`],
  ];
  qemu = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  wire = new Wire((await connected)[0]);
  await waitFor('the socket of the server', () => existsSync(socket));
  nic = await open(`vfio-user:${socket}`, { promiscuous: true, pageSize: '4K' });
});

server.after(async () => {
  await nic?.close();
  qemu?.kill('SIGKILL');
  listener?.close();
  if (folder) rmSync(folder, { recursive: true });
});

server('the driver comes up on it: model, MAC address, link', async () => {
  assert.is(nic.model, 'Intel 82576');
  assert.is(nic.macAddress, dutMac(0));
  assert.equal(await nic.waitForLink({ timeoutMs: 10_000 }), { up: true, speedMbps: 1000, fullDuplex: true });
});

server('frames leave unchanged and in order', async () => {
  const { pool } = nic;
  const tx = nic.txQueues[0]!;
  const bufs = new Uint32Array(1);
  for (const frame of frames) {
    await waitFor('a buffer', () => {
      tx.reclaim();
      return pool.allocate(bufs, bufs.length) === 1;
    });
    pool.bytes(bufs[0]!).set(frame);
    pool.lengths[bufs[0]!] = frame.length;
    await waitFor('room in the ring', () => tx.send(bufs, bufs.length) === 1);
  }
  await waitFor('the frames on the wire', () => wire.received.length >= FRAMES);
  assert.ok(wire.received.every((frame, i) => frame.equals(frames[i]!)));
  assert.is(wire.received.length, FRAMES);
  assert.is(nic.stats().txPackets, FRAMES);
});

server('frames arrive unchanged and in order', async () => {
  const { pool } = nic;
  const bufs = new Uint32Array(32);
  const received: Buffer[] = [];
  const poll = (): boolean => {
    const count = nic.rxQueues[0]!.receive(bufs);
    for (const buf of bufs.subarray(0, count)) {
      const frame = Buffer.from(pool.bytes(buf).subarray(0, pool.lengths[buf]!));
      if (isTestFrame(frame)) received.push(frame);
    }
    pool.release(bufs, count);
    return received.length >= FRAMES;
  };
  for (const [i, frame] of frames.entries()) {
    wire.send(frame);
    if (i % 32 === 31) await waitFor('the frames so far', () => poll() || received.length > i);
  }
  await waitFor('all frames', poll);
  assert.is(received.length, FRAMES);
  assert.ok(received.every((frame, i) => frame.equals(frames[i]!)));
});

server('an interrupt ends each wait', async () => {
  const bufs = new Uint32Array(32);
  for (let i = 0; i < WAITS; i++) {
    const waiting = nic.waitForPackets({ timeoutMs: 10_000 });
    await sleep(20);
    wire.send(frames[0]!);
    assert.is(await waiting, true);
    nic.pool.release(bufs, 0, nic.rxQueues[0]!.receive(bufs));
  }
});

server.run();
