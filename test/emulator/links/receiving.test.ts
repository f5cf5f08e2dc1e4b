/** Sources wait until somebody receives; what comes to a port without a driver is counted. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { CaptureWriter } from '../../../src/capture/capture-writer.js';
import { ManualClock } from '../../../src/clock.js';
import { connect, isReceiving, longestFrameBytes, type Port } from '../../../src/emulator/link.js';
import { Cable } from '../../../src/emulator/links/cable.js';
import { RecordPort, recordingMonitor } from '../../../src/emulator/links/record.js';
import { TrafficSource } from '../../../src/emulator/links/traffic.js';
import { TrafficPeer } from '../../../src/emulator/links/traffic-peer.js';
import { readFrames } from '../../support/read-frames.js';
import { suite } from '../../support/suite.js';
import { BROADCAST, frame, memoryOf, R, Recorder, TestNic } from '../support.js';

const directory = mkdtempSync(join(tmpdir(), 'barewire-receiving-'));
const receiving = suite('receiving');

const JUMBOEN = 1 << 2;
const LOOPBACK = 1 << 15;

receiving('a NIC receives from the moment when its driver has turned it on until it leaves', () => {
  const nic = new TestNic();
  assert.not(isReceiving(nic.model));
  nic.setUpRx({ count: 16 });
  assert.ok(isReceiving(nic.model));
  nic.write(R.HLREG0, LOOPBACK);
  assert.not(isReceiving(nic.model), 'nothing comes in from outside in loopback');
  nic.write(R.HLREG0, 0);
  assert.ok(isReceiving(nic.model));
  nic.write(R.RXCTRL, 0);
  assert.not(isReceiving(nic.model));
  nic.write(R.RXCTRL, 1);
  nic.setConfig16(4, 0x2);
  assert.not(isReceiving(nic.model), 'no bus master');
  nic.setConfig16(4, 0x6);
  assert.ok(isReceiving(nic.model));
  nic.model.detach();
  assert.not(isReceiving(nic.model));
});

receiving('every queue that is on counts: frames may be for any of them', () => {
  const nic = new TestNic();
  nic.setUpRx({ count: 16 });
  nic.setUpRx({ count: 16, queue: 1, give: 0 });
  assert.not(isReceiving(nic.model));
  nic.write(0x1000 + 0x40 + 0x18, 15);
  assert.ok(isReceiving(nic.model));
});

receiving('a queue without free descriptors still receives: it has no room', () => {
  const nic = new TestNic().setUpRx({ count: 8 }).promiscuous();
  const source = new TrafficSource();
  connect(source, nic.model);
  while (source.poll(64) > 0);
  assert.is(nic.model.room(), 0);
  assert.ok(isReceiving(nic.model));
});

receiving('frames that come while nobody receives are counted', () => {
  const nic = new TestNic();
  nic.arrive(frame(BROADCAST));
  nic.arrive(frame(BROADCAST));
  assert.is(nic.model.unheard, 2);
  nic.setUpRx({ count: 16 }).promiscuous();
  nic.arrive(frame(BROADCAST));
  assert.is(nic.model.unheard, 2);
  nic.write(R.HLREG0, LOOPBACK);
  nic.arrive(frame(BROADCAST));
  assert.is(nic.model.unheard, 3);
  nic.write(R.HLREG0, 0);
  // The receiver is on, the frame's queue is not.
  nic.write(0x1000 + 0x28, 0);
  nic.arrive(frame(BROADCAST));
  assert.is(nic.model.unheard, 4);
});

receiving('the longest frame is what the driver has set', () => {
  const nic = new TestNic().setUpRx();
  assert.is(longestFrameBytes(nic.model), 1514);
  nic.write(R.HLREG0, JUMBOEN);
  nic.write(R.MAXFRS, 9018 << 16);
  assert.is(longestFrameBytes(nic.model), 9014);
});

receiving('monitors and cables pass both on; nothing plugged in receives nothing', () => {
  const path = join(directory, 'between.pcap');
  const writer = CaptureWriter.open(path);
  const monitor = recordingMonitor(writer);
  const cable = new Cable({ clock: new ManualClock() });
  assert.not(isReceiving(monitor.a));
  assert.not(isReceiving(cable.a));
  assert.not(isReceiving(undefined));
  const nic = new TestNic();
  connect(monitor.b, cable.a);
  connect(cable.b, nic.model);
  assert.not(isReceiving(monitor.a));
  nic.setUpRx({ count: 16 });
  assert.ok(isReceiving(monitor.a));
  assert.is(longestFrameBytes(monitor.a), 1514);
  assert.ok(isReceiving(new Recorder()), 'a port that does not say otherwise');
  assert.is(longestFrameBytes(new Recorder()), Number.POSITIVE_INFINITY);
  writer.close();
});

receiving('traffic waits, with its rate as well', () => {
  const clock = new ManualClock();
  const wire = new Recorder() as Recorder & Port;
  let on = false;
  wire.receiving = () => on;
  const source = new TrafficSource({ clock, framesPerSecond: 1e6, count: 20 });
  connect(source, wire);
  clock.advanceNs(1e9);
  assert.is(source.poll(64), 0);
  assert.is(source.sent, 0);
  on = true;
  assert.is(source.poll(64), 0, 'the rate begins now');
  clock.advanceNs(5000);
  assert.is(source.poll(64), 5);
  on = false;
  clock.advanceNs(1e9);
  assert.is(source.poll(64), 0);
  on = true;
  assert.is(source.poll(64), 0, 'a pause is not caught up');
  clock.advanceNs(15_000);
  assert.is(source.poll(64), 15);
  assert.ok(source.done);
});

receiving('traffic that nobody polled for long goes on at its rate, 10 ms of it at once', () => {
  const clock = new ManualClock();
  const wire = new Recorder();
  const source = new TrafficSource({ clock, framesPerSecond: 10_000 });
  connect(source, wire);
  assert.is(source.poll(1e6), 0);
  clock.advanceNs(3e9);
  assert.is(source.poll(1e6), 100);
  let sent = 0;
  for (let ms = 0; ms < 50; ms++) {
    clock.advanceNs(1e6);
    sent += source.poll(1e6);
  }
  assert.ok(sent >= 490 && sent <= 500, `${sent} in 50 ms`);
});

receiving('a station waits as its source does, and checks what comes all the same', () => {
  const nic = new TestNic();
  const peer = new TrafficPeer({ count: 5 });
  connect(peer, nic.model);
  assert.is(peer.poll(64), 0);
  nic.setUpRx({ count: 16 }).promiscuous();
  assert.is(peer.poll(64), 5);
  assert.is(nic.model.unheard, 0);
});

receiving('what passes a recording monitor, and what a recording end gets, is in the file', async () => {
  const paths = [join(directory, 'passing.pcap'), join(directory, 'end.pcap')] as const;
  const passing = CaptureWriter.open(paths[0]);
  const end = new RecordPort(CaptureWriter.open(paths[1]));
  const monitor = recordingMonitor(passing);
  const wire = new Recorder();
  connect(monitor.b, end);
  connect(wire, monitor.a);
  const frames = [frame(BROADCAST, 60), frame(BROADCAST, 1514), frame(BROADCAST, 33)];
  for (const bytes of frames) monitor.a.deliver(memoryOf(bytes), 0, bytes.length);
  monitor.b.deliver(memoryOf(frames[0]!), 0, 60);
  assert.is(wire.frames.length, 1);
  passing.close();
  end.writer.close();
  const bytesOf = async (path: string) => (await readFrames(path)).map(({ bytes }) => bytes);
  assert.equal(await bytesOf(paths[0]), [...frames, frames[0]]);
  assert.equal(await bytesOf(paths[1]), frames);
  assert.ok(end.room() > 1000);
});

receiving('a cable says what is still on its way', () => {
  const clock = new ManualClock();
  const cable = new Cable({ clock, delayNs: 1000 });
  connect(cable.b, new Recorder());
  for (let i = 0; i < 3; i++) cable.a.deliver(memoryOf(frame(BROADCAST)), 0, 60);
  assert.is(cable.counters('ab').underWay, 3);
  clock.advanceNs(1000);
  cable.poll(64);
  assert.equal(cable.counters('ab'), {
    carried: 3,
    lost: 0,
    damaged: 0,
    duplicated: 0,
    reordered: 0,
    dropped: 0,
    overflowed: 0,
    wrongFcs: 0,
    underWay: 0,
  });
});

receiving.after(() => rmSync(directory, { recursive: true }));
receiving.run();
