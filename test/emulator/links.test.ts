/** Cables, traffic, captures, QEMU streams, TAP. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PcapSource, PcapWriter, readPcap } from '../../src/capture/pcap.js';
import { ManualClock } from '../../src/clock.js';
import { FrameQueue } from '../../src/emulator/device/frame-queue.js';
import { connect, copyBytes, frameMemory } from '../../src/emulator/link.js';
import { Cable } from '../../src/emulator/links/cable.js';
import { Monitor } from '../../src/emulator/links/monitor.js';
import { StreamPort } from '../../src/emulator/links/stream.js';
import { TapPort } from '../../src/emulator/links/tap.js';
import { TrafficSink, TrafficSource } from '../../src/emulator/links/traffic.js';
import { NicError } from '../../src/errors.js';
import { BROADCAST, frame, internetChecksum, R, Recorder, TestNic } from './support.js';

const directory = mkdtempSync(join(tmpdir(), 'barewire-links-'));

function memoryOf(bytes: Uint8Array): { bytes: Uint8Array; words: Int32Array } {
  const memory = frameMemory(bytes.length);
  memory.bytes.set(bytes);
  return memory;
}

const basics = suite('links');

basics('connect brings both ends up, disconnect takes them down', () => {
  const a = new Recorder();
  const b = new Recorder();
  const link = connect(a, b);
  link.setCarrier(false);
  link.setCarrier(true);
  link.disconnect();
  link.setCarrier(true);
  assert.equal(a.carriers, [true, false, true, false]);
  assert.equal(b.carriers, a.carriers);
});

basics('copyBytes copies any range', () => {
  fc.assert(
    fc.property(fc.nat(40), fc.nat(40), fc.nat(600), (from, to, length) => {
      const source = frameMemory(700);
      const target = frameMemory(700);
      for (let i = 0; i < 700; i++) source.bytes[i] = i * 13;
      copyBytes(source, from, target, to, length);
      const expected = new Uint8Array(target.bytes.length);
      expected.set(source.bytes.subarray(from, from + length), to);
      assert.equal(target.bytes, expected);
    }),
  );
});

basics('a frame queue behaves like a list that has a size', () => {
  fc.assert(
    fc.property(
      fc.array(fc.option(fc.integer({ min: 1, max: 300 }), { nil: 0 }), { maxLength: 200 }),
      (steps) => {
        const queue = new FrameQueue();
        queue.reset(1024);
        const list: Uint8Array[] = [];
        steps.forEach((length, n) => {
          if (length > 0) {
            const bytes = new Uint8Array(length).fill(n);
            if (queue.push(memoryOf(bytes), 0, length)) list.push(bytes);
            else assert.ok(list.length > 0, 'an empty queue takes a frame');
          } else if (list.length > 0) {
            const at = queue.frontOffset;
            assert.equal(queue.memory.bytes.slice(at, at + queue.frontLength), list.shift());
            queue.pop();
          }
          assert.is(queue.count, list.length);
        });
      },
    ),
  );
});

basics.run();

const cables = suite('cable');

cables('carries both ways with delay and at its rate', () => {
  const clock = new ManualClock();
  const cable = new Cable({ clock, rateBitsPerSecond: 1e9, delayNs: 10_000 });
  const a = new Recorder();
  const b = new Recorder();
  connect(a, cable.a);
  connect(cable.b, b);
  const memory = memoryOf(frame(BROADCAST, 101));
  // 101 + 24 octets at 1 Gbit/s are 1000 ns
  for (let i = 0; i < 5; i++) cable.a.deliver(memory, 0, 101);
  cable.b.deliver(memory, 0, 101);
  clock.advanceNs(10_999);
  cable.poll(64);
  assert.is(b.frames.length, 0);
  clock.advanceNs(2);
  cable.poll(64);
  assert.is(b.frames.length, 1);
  assert.is(a.frames.length, 1);
  clock.advanceNs(3_000);
  cable.poll(64);
  assert.is(b.frames.length, 4);
  assert.is(b.flushes, 2);
  clock.advanceNs(1e6);
  cable.poll(64);
  assert.is(b.frames.length, 5);
});

cables('loses and damages the share it is told, the same for the same seed', () => {
  const run = (seed: number): string => {
    const cable = new Cable({ clock: new ManualClock(), loss: 0.1, damage: 0.05, seed });
    const b = new Recorder();
    connect(cable.b, b);
    const memory = memoryOf(frame(BROADCAST));
    for (let i = 0; i < 2000; i++) {
      cable.a.deliver(memory, 0, 60);
      cable.poll(64);
    }
    const { lost, damaged, carried } = cable.counters('ab');
    assert.is(lost + damaged + carried, 2000);
    assert.is(b.frames.length, carried);
    assert.is(b.damagedCount, damaged);
    assert.ok(lost > 120 && lost < 280, `lost ${lost}`);
    assert.ok(damaged > 40 && damaged < 150, `damaged ${damaged}`);
    return `${lost} ${damaged}`;
  };
  assert.is(run(5), run(5));
  assert.is.not(run(5), run(6));
});

cables('a sender that asks for room is held to the rate and loses nothing', () => {
  const clock = new ManualClock();
  const cable = new Cable({ clock, rateBitsPerSecond: 1e9, delayNs: 5e6 });
  const source = new TrafficSource({ sizeBytes: 101 });
  const sink = new TrafficSink();
  connect(source, cable.a);
  connect(cable.b, sink);
  for (let i = 0; i < 10_000; i++) {
    source.poll(64);
    clock.advanceNs(1000);
    cable.poll(64);
  }
  // 10 ms, of which the first frame was under way for 5; 1000 ns a frame
  assert.is(sink.counters.received, 5000);
  assert.is(cable.counters('ab').overflowed, 0);
  const ahead = source.sent - 10_000;
  assert.ok(ahead >= 0 && ahead <= 32, `${ahead} frames ahead of the rate`);
});

cables('a sender that asks for room waits while as much is under way as there is memory for', () => {
  const cable = new Cable({ clock: new ManualClock(), delayNs: 1e6 });
  const source = new TrafficSource();
  connect(source, cable.a);
  connect(cable.b, new Recorder());
  for (let i = 0; i < 10_000; i++) source.poll(64);
  assert.is(source.sent, 8192);
  assert.is(cable.counters('ab').overflowed, 0);
});

cables('a full buffer is said to the sender', () => {
  const cable = new Cable({ clock: new ManualClock(), rateBitsPerSecond: 1e6, bufferBytes: 4096 });
  connect(cable.b, new Recorder());
  const memory = memoryOf(frame(BROADCAST, 1000));
  const taken = Array.from({ length: 6 }, () => cable.a.deliver(memory, 0, 1000));
  assert.equal(taken, [true, true, true, true, false, false]);
  assert.is(cable.counters('ab').overflowed, 2);
});

cables.run();

const traffic = suite('traffic');

/** What a sink has counted before the first frame. */
const NOTHING = { received: 0, reordered: 0, duplicated: 0, stale: 0, corrupt: 0, foreign: 0, lost: 0 };

traffic('goes through two models and is found complete', () => {
  // source -> wire -> a NIC in loopback would be a driver's job; here the sink is straight behind a cable
  const cable = new Cable({ clock: new ManualClock() });
  const source = new TrafficSource({ count: 1000, flows: 7, sizeBytes: 99 });
  const sink = new TrafficSink();
  connect(source, cable.a);
  connect(cable.b, sink);
  for (let i = 0; i < 200; i++) {
    source.poll(16);
    cable.poll(64);
  }
  assert.ok(source.done);
  assert.equal(sink.counters, { ...NOTHING, received: 1000 });
});

traffic('has right checksums for every number and flow', () => {
  fc.assert(
    fc.property(
      fc.maxSafeNat(),
      fc.integer({ min: 1, max: 500 }),
      fc.integer({ min: 60, max: 200 }),
      (sequence, flows, sizeBytes) => {
        const source = new TrafficSource({ flows, sizeBytes });
        const wire = new Recorder();
        connect(source, wire);
        source.sent = sequence;
        source.poll(1);
        const bytes = wire.frames[0]!;
        assert.is(internetChecksum(bytes.slice(14, 34)), 0);
        const udp = bytes.slice(34);
        const pseudo = Uint8Array.of(...bytes.slice(26, 34), 0, 17, udp.length >>> 8, udp.length);
        assert.is(internetChecksum(udp, ~internetChecksum(pseudo) & 0xffff), 0);
      },
    ),
  );
});

traffic('is taken by a NIC as good', () => {
  const nic = new TestNic().setUpRx({ count: 64 });
  nic.write(R.FCTRL, 1 << 10);
  const source = new TrafficSource({ count: 40 });
  connect(source, nic.model);
  source.poll(64);
  for (let i = 0; i < 40; i++) assert.is(nic.receive()!.words[2]! & ~3, 0x60);
});

traffic('respects the room of the receiver and its rate', () => {
  const clock = new ManualClock();
  const source = new TrafficSource({ clock, framesPerSecond: 1e6 });
  const wire = new Recorder();
  connect(source, wire);
  assert.is(source.poll(64), 0);
  clock.advanceNs(5_000);
  assert.is(source.poll(64), 5);
  assert.is(source.poll(64), 0);
  wire.available = 2;
  clock.advanceNs(5_000);
  assert.is(source.poll(64), 2);
});

traffic('with room as the limit a slow driver loses nothing', () => {
  const nic = new TestNic().setUpRx({ count: 8, drop: true }).promiscuous();
  const source = new TrafficSource({ count: 100 });
  connect(source, nic.model);
  let received = 0;
  for (let i = 0; i < 100 && received < 100; i++) {
    source.poll(64);
    assert.is(nic.model.room(), Math.max(0, 7 - (source.sent - received)));
    while (nic.receive() !== undefined) received++;
  }
  assert.is(received, 100);
  assert.is(nic.read(0x1430), 0, 'QPRDC');
});

/** Frames of a source, by number. */
function numberedFrames(count: number, sizeBytes = 80): Uint8Array[] {
  const source = new TrafficSource({ count, sizeBytes });
  const wire = new Recorder();
  connect(source, wire);
  while (source.poll(64) > 0);
  return wire.frames;
}

function delivered(frames: readonly Uint8Array[]): TrafficSink {
  const sink = new TrafficSink();
  for (const bytes of frames) sink.deliver(memoryOf(bytes), 0, bytes.length);
  return sink;
}

/** A copy with one byte changed. */
function broken(bytes: Uint8Array, place: number): Uint8Array {
  const copy = bytes.slice();
  copy[place] = copy[place]! ^ 1;
  return copy;
}

traffic('the sink tells lost, reordered, repeated, corrupt and foreign frames apart', () => {
  const frames = numberedFrames(10);
  const sink = delivered([
    ...[0, 2, 1, 4, 4, 6, 1].map((i) => frames[i]!),
    broken(frames[5]!, 70),
    frame(BROADCAST),
  ]);
  // number 3 never came, number 5 came broken, 4 and 1 came twice
  const expected = { received: 5, reordered: 1, duplicated: 2, corrupt: 1, foreign: 1, lost: 1 };
  assert.equal(sink.counters, { ...NOTHING, ...expected });
});

traffic('a corrupt frame is no lost one, whether its number can be read or not, and also at the end', () => {
  const frames = numberedFrames(10);
  for (const place of [46, 70]) {
    const sink = delivered([...frames.slice(0, 4), broken(frames[4]!, place), ...frames.slice(6)]);
    assert.equal(sink.counters, { ...NOTHING, received: 8, corrupt: 1, lost: 1 }, `byte ${place}`);
  }
  const last = delivered([...frames.slice(0, 4), ...frames.slice(5, 9), broken(frames[9]!, 70)]);
  assert.equal(last.counters, { ...NOTHING, received: 8, corrupt: 1, lost: 1 });
  const damaged = delivered(frames.slice(0, 4));
  damaged.damaged();
  for (const bytes of frames.slice(5)) damaged.deliver(memoryOf(bytes), 0, 80);
  assert.equal(damaged.counters, { ...NOTHING, received: 9, corrupt: 1 });
});

traffic('what a ring sends again is repeated, not received', () => {
  const frames = numberedFrames(600, 60);
  assert.equal(delivered([...frames, ...frames.slice(100, 612)]).counters, {
    ...NOTHING,
    received: 600,
    duplicated: 500,
  });
});

traffic('sent is received, corrupt and lost, whatever the link does', () => {
  const fate = fc.constantFrom('pass', 'pass', 'pass', 'lose', 'twice', 'late', 'corrupt', 'damage');
  const frames = numberedFrames(200);
  fc.assert(
    fc.property(fc.array(fate, { minLength: 198, maxLength: 198 }), (fates) => {
      const sink = new TrafficSink();
      const deliver = (bytes: Uint8Array) => sink.deliver(memoryOf(bytes), 0, 80);
      const late: Uint8Array[] = [];
      deliver(frames[0]!);
      for (const [i, what] of fates.entries()) {
        const bytes = frames[i + 1]!;
        if (what === 'corrupt') deliver(broken(bytes, 75));
        else if (what === 'damage') sink.damaged();
        else if (what === 'late') late.push(bytes);
        else if (what !== 'lose') deliver(bytes);
        if (what === 'twice') deliver(bytes);
      }
      deliver(frames[199]!);
      for (const bytes of late) deliver(bytes);
      const count = (...names: string[]) => fates.filter((what) => names.includes(what)).length;
      assert.equal(sink.counters, {
        received: 2 + count('pass', 'twice', 'late'),
        reordered: count('late'),
        duplicated: count('twice'),
        stale: 0,
        corrupt: count('corrupt', 'damage'),
        foreign: 0,
        lost: count('lose'),
      });
    }),
  );
});

traffic.run();

const captures = suite('captures');

captures('what is written can be read and played', () => {
  const path = join(directory, 'a.pcap');
  let nowMs = 1_700_000_000_123;
  const writer = new PcapWriter(path, () => nowMs);
  const monitor = new Monitor((memory, offset, length) => writer.write(memory, offset, length));
  const wire = new Recorder();
  connect(monitor.b, wire);
  const frames = [frame(BROADCAST, 60), frame(BROADCAST, 1514), frame(BROADCAST, 33)];
  for (const bytes of frames) {
    monitor.a.deliver(memoryOf(bytes), 0, bytes.length);
    nowMs += 2;
  }
  writer.close();
  writer.close();
  assert.is(wire.frames.length, 3);
  const read = readPcap(path);
  assert.equal(
    read.map((f) => f.bytes),
    frames,
  );
  assert.equal(
    read.map((f) => Math.round(f.timeNs / 1e6)),
    [0, 2, 4],
  );
  const out = new Recorder();
  const source = new PcapSource(read, { repeat: 2 });
  connect(source, out);
  while (source.poll(2) > 0);
  assert.ok(source.done);
  assert.equal(
    out.frames.map((f) => f.length),
    [60, 1514, 60, 60, 1514, 60],
  );
});

captures('playing keeps the gaps on request', () => {
  let nowNs = 0;
  const frames = [0, 1000, 5000].map((timeNs) => ({ bytes: frame(BROADCAST), timeNs }));
  const source = new PcapSource(frames, { originalTiming: true, nowNs: () => nowNs });
  const out = new Recorder();
  connect(source, out);
  assert.is(source.poll(8), 1);
  nowNs = 1000;
  assert.is(source.poll(8), 1);
  assert.is(source.poll(8), 0);
  nowNs = 9000;
  assert.is(source.poll(8), 1);
  assert.ok(source.done);
});

captures('reads big-endian files with microseconds, and refuses what is no capture', () => {
  const path = join(directory, 'b.pcap');
  const file = Buffer.alloc(24 + 16 + 14);
  file.writeUInt32BE(0xa1b2c3d4, 0);
  file.writeUInt32BE(1, 20);
  file.writeUInt32BE(5, 24);
  file.writeUInt32BE(14, 32);
  file.writeUInt32BE(14, 36);
  writeFileSync(path, file);
  assert.is(readPcap(path).length, 1);
  for (const wrong of [
    file.subarray(0, 10),
    file.subarray(0, 45),
    Buffer.alloc(40),
    Buffer.concat([file.subarray(0, 23), Buffer.of(9), file.subarray(24)]),
  ]) {
    writeFileSync(path, wrong);
    assert.throws(
      () => readPcap(path),
      (error: unknown) => error instanceof NicError && error.code === 'BAD_OPTION',
    );
  }
});

captures.run();

const streams = suite('QEMU stream');

streams('speaks length and frame, in both directions, however the bytes are cut', async () => {
  const path = join(directory, 'wire.sock');
  const port = await StreamPort.listen(path);
  const wire = new Recorder();
  connect(port, wire);
  assert.is(port.room(), 0);
  const peer = connectSocket(path);
  const got: Buffer[] = [];
  peer.on('data', (chunk) => got.push(chunk));
  const bytes = frame(BROADCAST, 70);
  const message = Buffer.concat([
    Buffer.of(0, 0, 0, 70),
    bytes,
    Buffer.of(0, 0, 0, 20),
    bytes.subarray(0, 20),
  ]);
  for (const cut of [message.subarray(0, 3), message.subarray(3, 50), message.subarray(50)]) {
    peer.write(cut);
    await sleep(5);
    port.poll(64);
  }
  await until(() => {
    port.poll(64);
    return wire.frames.length === 2;
  });
  assert.equal(wire.frames[0], bytes);
  assert.is(wire.frames[1]!.length, 60, 'padded');
  assert.ok(port.deliver(memoryOf(bytes), 0, 70));
  port.flush();
  await until(() => Buffer.concat(got).length === 74);
  assert.equal(Buffer.concat(got), Buffer.concat([Buffer.of(0, 0, 0, 70), bytes]));
  peer.write(Buffer.of(0xff, 0xff, 0xff, 0xff));
  await until(() => {
    port.poll(64);
    return !port.connected;
  });
  assert.not(port.deliver(memoryOf(bytes), 0, 70));
  port.close();
});

streams('with flow control frames wait for room', async () => {
  const path = join(directory, 'patient.sock');
  const server = await StreamPort.listen(path);
  const client = await StreamPort.connect(path);
  await until(() => server.connected);
  const wire = new Recorder();
  connect(client, wire, { flowControl: true });
  wire.available = 0;
  for (let i = 0; i < 5; i++) server.deliver(memoryOf(frame(BROADCAST)), 0, 60);
  server.flush();
  const arrived = new Promise<void>((resolve) => {
    client.onReadable = resolve;
  });
  await arrived;
  assert.is(client.poll(8), 0);
  wire.available = 2;
  assert.is(client.poll(8), 2);
  wire.available = 100;
  assert.is(client.poll(8), 3);
  client.close();
  server.close();
});

streams('connects as well', async () => {
  const path = join(directory, 'other.sock');
  const server = await StreamPort.listen(path);
  const client = await StreamPort.connect(path);
  await until(() => server.connected);
  const wire = new Recorder();
  connect(client, wire);
  server.deliver(memoryOf(frame(BROADCAST)), 0, 60);
  server.flush();
  await until(() => client.poll(8) > 0);
  assert.is(wire.frames.length, 1);
  client.close();
  server.close();
});

streams.run();

const taps = suite('TAP');

taps('opens an interface, or says why not', () => {
  let tap: TapPort;
  try {
    tap = new TapPort();
  } catch (error) {
    assert.ok(error instanceof NicError);
    assert.ok((error as NicError).hint);
    console.log(`\n  (TAP not tried: ${(error as NicError).message})`);
    return;
  }
  assert.match(tap.name, /^bw\d+$/);
  assert.ok(existsSync(`/sys/class/net/${tap.name}`));
  // the interface is down: the kernel refuses frames, and there is nothing to read
  assert.not(tap.deliver(memoryOf(frame(BROADCAST)), 0, 60));
  assert.is(tap.poll(8), 0);
  tap.close();
  assert.not(existsSync(`/sys/class/net/${tap.name}`));
});

taps('a name that is too long is refused', () => {
  assert.throws(() => new TapPort('a-name-of-sixteen'), /over 15 bytes/);
});

taps.after(() => rmSync(directory, { recursive: true }));
taps.run();

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 10_000; i++) {
    if (condition()) return;
    await sleep(2);
  }
  throw new Error('it did not happen within twenty seconds');
}
