/** Captures that are played into a link: when, what, and what is said of the rest. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { ManualClock } from '../../../src/clock.js';
import { connect, frameMemory } from '../../../src/emulator/link.js';
import { Cable } from '../../../src/emulator/links/cable.js';
import { Monitor } from '../../../src/emulator/links/monitor.js';
import { type PlayOptions, PlayPort } from '../../../src/emulator/links/play.js';
import { NicError } from '../../../src/errors.js';
import {
  interfaceBlock,
  packetBlock,
  pcapFile,
  type Record,
  sectionHeader,
  someFrame,
} from '../../capture/make-capture.js';
import { suite } from '../../support/suite.js';
import { BROADCAST, frame, R, Recorder, rx, TestNic } from '../support.js';

const directory = mkdtempSync(join(tmpdir(), 'barewire-play-'));
const playing = suite('play');

let files = 0;
const opened: PlayPort[] = [];

function file(bytes: Uint8Array): string {
  const path = join(directory, `${files++}.pcap`);
  writeFileSync(path, bytes);
  return path;
}

function capture(records: readonly Record[], network = 1): string {
  return file(pcapFile(records, { network }));
}

/** A receiver that can be turned on and off. */
class Receiver extends Recorder {
  on = true;
  limitBytes = 1514;

  receiving(): boolean {
    return this.on;
  }

  maxFrameBytes(): number {
    return this.limitBytes;
  }
}

async function play(
  path: string,
  options: PlayOptions = {},
): Promise<{ port: PlayPort; wire: Receiver; notices: NicError[] }> {
  const notices: NicError[] = [];
  const port = await PlayPort.open(path, { ...options, onNotice: (notice) => notices.push(notice) });
  const wire = new Receiver();
  connect(port, wire);
  opened.push(port);
  return { port, wire, notices };
}

/** Polls until nothing more comes. */
async function run(port: PlayPort, budget = 64): Promise<void> {
  while (port.poll(budget) > 0 || port.reading) {
    if (port.reading) await nextTurn();
  }
}

async function refusal(promise: Promise<unknown>): Promise<NicError> {
  try {
    await promise;
  } catch (error) {
    assert.instance(error, NicError);
    return error as NicError;
  }
  throw new Error('it was taken');
}

const TEN = Array.from({ length: 10 }, (_, i) => ({ bytes: frame(BROADCAST, 60 + i), seconds: i }));

playing('all frames, as they are, once; short ones are padded', async () => {
  const short = frame(BROADCAST, 33);
  const { port, wire, notices } = await play(capture([...TEN, { bytes: short }]));
  await run(port, 3);
  assert.ok(port.done);
  const padded = new Uint8Array(60);
  padded.set(short);
  assert.equal(wire.frames, [...TEN.map(({ bytes }) => bytes), padded]);
  assert.equal(port.counters, { played: 11, leftOut: 0, tooLong: 0 });
  assert.is(port.total, 11);
  assert.equal(notices, []);
  port.close();
});

playing('again and again where that is asked for', async () => {
  const { port, wire } = await play(capture(TEN), { repeat: 3 });
  await run(port);
  assert.equal(
    wire.frames.map(({ length }) => length),
    [0, 1, 2].flatMap(() => TEN.map(({ bytes }) => bytes.length)),
  );
  assert.is(port.counters.played, 30);
  assert.is(port.total, 30);
});

playing('a file of many windows', async () => {
  const records = Array.from({ length: 3000 }, (_, i) => ({ bytes: frame(BROADCAST, 60 + (i % 1400)) }));
  const { port, wire } = await play(capture(records));
  await run(port);
  assert.is(wire.frames.length, 3000);
  assert.ok(wire.frames.every((bytes, i) => Buffer.from(bytes).equals(records[i]!.bytes)));
});

playing('nothing before somebody receives, and on from there after a pause', async () => {
  const { port, wire } = await play(capture(TEN));
  wire.on = false;
  await run(port);
  assert.is(wire.frames.length, 0);
  assert.equal(port.counters, { played: 0, leftOut: 0, tooLong: 0 });
  wire.on = true;
  assert.is(port.poll(4), 4);
  wire.on = false;
  await run(port);
  assert.is(wire.frames.length, 4);
  wire.on = true;
  await run(port);
  assert.equal(
    wire.frames,
    TEN.map(({ bytes }) => bytes),
  );
});

playing('only as many as there is room for', async () => {
  const { port, wire } = await play(capture(TEN));
  wire.available = 2;
  assert.is(port.poll(64), 2);
  wire.available = 0;
  await run(port);
  assert.is(wire.frames.length, 2);
});

playing('a NIC: it waits for the driver, through a capture and a cable as well', async () => {
  for (const between of ['nothing', 'monitor', 'cable'] as const) {
    const clock = new ManualClock();
    const cable = new Cable({ clock });
    const monitor = new Monitor(() => {});
    const nic = new TestNic();
    const { port } = await play(capture(TEN));
    if (between === 'nothing') connect(port, nic.model);
    else {
      const [near, far] = between === 'cable' ? [cable.a, cable.b] : [monitor.a, monitor.b];
      connect(port, near);
      connect(far, nic.model);
    }
    const steps = async (): Promise<void> => {
      for (let i = 0; i < 4; i++) {
        await run(port);
        cable.poll(64);
        nic.model.poll(64);
      }
    };
    await steps();
    // The receiver is on, a queue is not; then it is on and has no descriptors.
    nic.enableBusMaster();
    nic.write(R.RXCTRL, 1);
    await steps();
    nic.write(rx(0, 'RXDCTL'), 1 << 25);
    await steps();
    assert.is(port.counters.played, 0, between);
    nic.write(rx(0, 'RXDCTL'), 0);
    nic.setUpRx({ count: 32 }).promiscuous();
    await steps();
    assert.is(port.counters.played, 10, between);
    const received: Uint8Array[] = [];
    for (let got = nic.receive(); got !== undefined; got = nic.receive()) received.push(got.bytes);
    assert.equal(
      received,
      TEN.map(({ bytes }) => bytes),
      between,
    );
    assert.is(nic.model.unheard, 0);
  }
});

playing('the gaps of the capture, exact over a pause and in the next round', async () => {
  const clock = new ManualClock();
  const records = [
    { bytes: frame(BROADCAST, 60), seconds: 1_700_000_000, fraction: 999_999 },
    { bytes: frame(BROADCAST, 61), seconds: 1_700_000_001, fraction: 1 },
    { bytes: frame(BROADCAST, 62), seconds: 1_700_000_001, fraction: 500_001 },
  ];
  const { port, wire } = await play(capture(records), { originalTiming: true, clock, repeat: 2 });
  const after = async (ns: number): Promise<number> => {
    clock.advanceNs(ns);
    await run(port);
    return wire.frames.length;
  };
  assert.is(await after(0), 1);
  assert.is(await after(1999), 1);
  assert.is(await after(1), 2);
  wire.on = false;
  assert.is(await after(10e9), 2);
  wire.on = true;
  assert.is(await after(0), 4, 'what was due next goes at once, and the next round begins');
  wire.on = false;
  assert.is(await after(10e9), 4);
  wire.on = true;
  assert.is(await after(0), 5);
  assert.is(await after(499_999_999), 5, 'the gap behind it is kept');
  assert.is(await after(1), 6);
  assert.ok(port.done);
});

playing('cut, short and foreign frames are left out and named before anything is sent', async () => {
  const ethernet = { bytes: frame(BROADCAST, 60) };
  const { port, wire, notices } = await play(
    capture([
      ethernet,
      { bytes: someFrame(96), originalBytes: 1514 },
      { bytes: someFrame(13) },
      { bytes: someFrame(60), originalBytes: 61 },
    ]),
  );
  assert.equal(
    notices.map(({ message }) => message),
    [
      `${port.path}: left out 2 of 4 frames: cut by the capture`,
      `${port.path}: left out 1 of 4 frames: shorter than an Ethernet header`,
    ],
  );
  await run(port);
  assert.is(wire.frames.length, 1);
  assert.equal(port.counters, { played: 1, leftOut: 3, tooLong: 0 });
  assert.is(port.total, 4);

  const mixed = await play(
    file(
      Buffer.concat([
        sectionHeader(),
        interfaceBlock(),
        interfaceBlock({ linkType: 276 }),
        packetBlock(frame(BROADCAST, 60), 1n),
        packetBlock(someFrame(60), 2n, { interface: 1 }),
      ]),
    ),
  );
  assert.equal(
    mixed.notices.map(({ message }) => message),
    [`${mixed.port.path}: left out 1 of 2 frames: of link type LINUX_SLL2 (276)`],
  );
  await run(mixed.port);
  assert.is(mixed.wire.frames.length, 1);
});

playing('a file with nothing to play is refused, with the reason', async () => {
  const cut = [{ bytes: someFrame(96), originalBytes: 1514 }];
  for (const [path, says] of [
    [capture([]), /has no frames$/],
    [capture(cut), /left out 1 of 1 frames: cut by the capture; no frame is left to play$/],
    [file(pcapFile(TEN).subarray(0, 50)), /ends inside a record, at byte 50/],
    [capture(TEN, 113), /has frames of link type LINUX_SLL \(113\), not of ETHERNET$/],
    [capture(TEN, 999), /has frames of link type 999, not of ETHERNET$/],
    [
      file(
        Buffer.concat([sectionHeader(), interfaceBlock({ linkType: 101 }), packetBlock(someFrame(60), 1n)]),
      ),
      /has frames of link type RAW \(101\), not of ETHERNET$/,
    ],
  ] as const) {
    const error = await refusal(PlayPort.open(path));
    assert.is(error.code, 'BAD_OPTION');
    assert.match(error.message, says);
    assert.is(error.path, path);
    assert.ok(error.hint);
  }
});

playing('a file that ends early is said once, and played to its last whole frame', async () => {
  const path = file(pcapFile(TEN).subarray(0, -1));
  const { port, wire, notices } = await play(path, { repeat: 2 });
  assert.is(notices.length, 1);
  assert.match(notices[0]!.message, /ends inside a record, at byte \d+: record 10,/);
  await run(port);
  assert.is(wire.frames.length, 18);
  assert.is(notices.length, 1);
});

playing('a file that changes while it is played: that is said, and it ends', async () => {
  const path = capture(TEN);
  const { port, notices } = await play(path, { repeat: 50 });
  let reads = 0;
  port.onReadable = () => reads++;
  port.poll(64);
  writeFileSync(path, pcapFile([]));
  await run(port);
  assert.ok(port.done);
  assert.ok(reads < 10, `${reads} rounds through nothing`);
  assert.equal(notices, []);
  const gone = await play(path.replace(/\d+\.pcap$/, '0.pcap'), { repeat: 2 });
  rmSync(gone.port.path);
  await run(gone.port);
  assert.ok(gone.port.done);
  assert.match(gone.notices[0]!.message, 'there is no such file');
});

playing('frames longer than the port takes are counted, and said before they are sent', async () => {
  const tagged = frame(BROADCAST, 1518, 0x8100);
  const twice = frame(BROADCAST, 1522, 0x88a8);
  const lengths = [60, 1514, 1515, 2048];
  const { port, wire, notices } = await play(
    capture(
      [...lengths.map((length) => frame(BROADCAST, length)), tagged, twice].map((bytes) => ({ bytes })),
    ),
  );
  assert.equal(notices, [], 'nobody is there yet to be too small');
  wire.available = 0;
  port.poll(64);
  await run(port);
  assert.equal(wire.frames, []);
  assert.is(notices.length, 1);
  assert.is(
    notices[0]!.message,
    `${port.path}: too long for the port: 3 of 6 frames, up to 2048 bytes; it takes 1514`,
  );
  wire.available = 100;
  await run(port);
  assert.is(wire.frames.length, 6);
  assert.equal(port.counters, { played: 6, leftOut: 0, tooLong: 3 });
  assert.is(notices.length, 1);
});

playing('a port that takes long frames gets them in silence', async () => {
  const { port, wire, notices } = await play(capture([{ bytes: frame(BROADCAST, 9000) }]));
  wire.limitBytes = 9014;
  await run(port);
  assert.is(wire.frames.length, 1);
  assert.equal(port.counters, { played: 1, leftOut: 0, tooLong: 0 });
  assert.equal(notices, []);
});

playing('what it is told is nothing to it', async () => {
  const { port, wire } = await play(capture(TEN));
  wire.frames.length = 0;
  assert.ok(port.deliver(frameMemory(64), 0, 64));
  assert.ok(port.room() > 1000);
  port.close();
  port.close();
  await nextTurn();
  assert.is(port.poll(64), 0);
});

playing.after.each(() => {
  for (const port of opened.splice(0)) port.close();
});

playing('a pipe is refused: it cannot be read twice', async () => {
  const pipe = join(directory, 'pipe');
  execFileSync('mkfifo', [pipe]);
  let error: unknown;
  await PlayPort.open(pipe).catch((reason: unknown) => {
    error = reason;
  });
  assert.instance(error, NicError);
  assert.match((error as NicError).message, /is a pipe, and is to be read more than once/);
});

playing.after(() => rmSync(directory, { recursive: true }));
playing.run();
