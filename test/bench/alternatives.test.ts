/** The pure parts of the alternatives: accounts, checks, counters. Nothing here measures. */
import * as assert from 'uvu/assert';
import { type Account, problemOf } from '../../bench/alternatives/account.js';
import { describeRow } from '../../bench/alternatives/describe.js';
import { verifyTotals } from '../../bench/alternatives/emulated.js';
import { FrameCheck, HEADERS_BYTES } from '../../bench/alternatives/frames.js';
import { rowOf } from '../../bench/alternatives/kernel-ways.js';
import { busyPollMs, PollCounter, type Snapshot } from '../../bench/alternatives/poll-counter.js';
import { redirect } from '../../bench/alternatives/redirect.js';
import { plainRelease } from '../../bench/machine.js';
import { suite } from '../support/suite.js';

const frames = suite('FrameCheck');

/** Payload of native/veth-load.c. */
function payload(number: number, magic = 0x42575652): Uint8Array {
  const bytes = new Uint8Array(30);
  new DataView(bytes.buffer).setUint32(4, magic);
  new DataView(bytes.buffer).setUint32(8, number);
  return bytes;
}

frames('counts, and finds repeats, disorder, wrong lengths and strangers', () => {
  const check = new FrameCheck(HEADERS_BYTES + 22);
  const accepted = [
    check.accept(payload(0), 4, 22),
    check.accept(payload(1), 4, 22),
    check.accept(payload(0xffff_fffe), 4, 22),
    check.accept(payload(0xffff_fffe), 4, 22),
    check.accept(payload(7), 4, 22),
    check.accept(payload(0xffff_ffff), 4, 21),
    check.accept(payload(8, 0x42575653), 4, 22),
    check.accept(payload(9), 4, 7),
  ];
  assert.equal(accepted, [true, true, true, true, true, true, false, false]);
  assert.is(check.received, 6);
  assert.is(check.reordered, 2);
  assert.is(check.wrongLength, 1);
  assert.is(check.foreign, 2);
});

frames.run();

const accounts = suite('account');

const SOUND: Account = {
  sent: 100,
  lostBefore: 3,
  noRoom: 17,
  received: 80,
  reordered: 0,
  wrongLength: 0,
  forwarded: 80,
  lostBehind: 1,
  sink: { received: 77, dropped: 2, reordered: 0, wrongLength: 0 },
};

accounts('a sound one has no problem', () => {
  assert.is(problemOf('forward', SOUND), undefined);
  assert.is(problemOf('receive', { ...SOUND, forwarded: 0, lostBehind: 0 }), undefined);
});

accounts('one frame more or less anywhere is a problem', () => {
  for (const key of ['sent', 'lostBefore', 'noRoom', 'received', 'forwarded', 'lostBehind'] as const) {
    for (const change of [-1, 1]) {
      assert.type(problemOf('forward', { ...SOUND, [key]: SOUND[key] + change }), 'string', key);
    }
  }
  for (const key of ['received', 'dropped'] as const) {
    const sink = { ...SOUND.sink, [key]: SOUND.sink[key] - 1 };
    assert.type(problemOf('forward', { ...SOUND, sink }), 'string', key);
  }
  for (const key of ['reordered', 'wrongLength'] as const) {
    assert.type(problemOf('receive', { ...SOUND, [key]: 1 }), 'string');
    assert.type(problemOf('forward', { ...SOUND, sink: { ...SOUND.sink, [key]: 1 } }), 'string');
  }
  assert.is(problemOf('receive', { ...SOUND, received: 0 }), 'nothing was received');
});

const PORT = { rxPackets: 10, txPackets: 9, dropped: 1, rxErrors: 0, rxDamaged: 0 };
const STATION = { sent: 10, received: 9, reordered: 0, corrupt: 0 };

accounts('fwd on emulated ports: what the stations saw must agree with what the ports counted', () => {
  verifyTotals([PORT, PORT], [STATION, STATION]);
  assert.throws(() => verifyTotals([], []), /no totals/);
  for (const damage of [
    { rxPackets: 11 },
    { rxPackets: 0 },
    { txPackets: 8 },
    { dropped: 0 },
    { rxErrors: 1 },
    { rxDamaged: 1 },
  ]) {
    assert.throws(
      () => verifyTotals([PORT, { ...PORT, ...damage }], [STATION, STATION]),
      /emulated ports, port/,
    );
  }
  for (const damage of [{ sent: 11 }, { received: 8 }, { reordered: 1 }, { corrupt: 1 }]) {
    assert.throws(() => verifyTotals([PORT, PORT], [{ ...STATION, ...damage }, STATION]), /port 0/);
  }
});

accounts.run();

const rows = suite('rows');

const WINDOW = { packets: 1000, seconds: 1, cpuSeconds: 0.5, waitedSeconds: 0.1, calls: 2000 };

rows('times and shares of a window', () => {
  const row = rowOf({
    path: 'packet',
    job: 'forward',
    sizeBytes: 64,
    window: WINDOW,
    sent: 1000,
    received: 1000,
  });
  assert.is(row.nsPerPacket, 500_000);
  assert.is(row.packetsPerSecond, 1000);
  assert.is(row.callsPerPacket, 2);
  assert.is(row.copies, 2);
  assert.is(row.limit, 'source');
  assert.ok(Math.abs(row.forwarderIdle! - 0.4) < 1e-9);
  assert.ok(Math.abs(row.forwarderWaited! - 0.1) < 1e-9);
});

rows('a forwarder that waits for a processor is not idle', () => {
  const window = { ...WINDOW, waitedSeconds: 0.48 };
  const row = rowOf({ path: 'dgram', job: 'receive', sizeBytes: 64, window, sent: 1000, received: 1000 });
  assert.is(row.limit, 'forwarder');
  assert.match(describeRow(row), /disturbed: 48 % waiting/);
});

rows('an empty window is an error', () => {
  const window = { ...WINDOW, packets: 0 };
  assert.throws(
    () => rowOf({ path: 'ring', job: 'receive', sizeBytes: 64, window, sent: 0, received: 0 }),
    /no packets/,
  );
});

rows('a skipped way says why', () => {
  assert.match(
    describeRow({ way: 'ring', skipped: 'no program ip' }),
    /mapped rings +skipped: no program ip/,
  );
});

rows('of the kernel only the version is told', () => {
  assert.is(plainRelease('6.12.3-12-amd64'), '6.12.3');
  assert.is(plainRelease('odd'), 'odd');
});

rows.run();

const counting = suite('PollCounter');

/** Every snapshot is a second after the one before. */
function clock(): () => Snapshot {
  let seconds = 0;
  return () => ({ seconds: ++seconds, cpuSeconds: seconds, waitedSeconds: 0, calls: seconds * 10 });
}

counting('counts what lies between the first and the last packet', () => {
  const counter = new PollCounter('forwarder', 8, clock());
  let next = 0;
  const poll = counter.wrap(() => next);
  const polls = (moved: number, times: number): void => {
    next = moved;
    for (let i = 0; i < times; i++) assert.is(poll(), moved);
  };
  polls(0, 1000);
  assert.is(counter.counts, undefined);
  polls(3, 1);
  polls(0, 40);
  polls(2, 160);
  polls(0, 1000);
  const counts = counter.counts!;
  assert.is(counts.role, 'forwarder');
  assert.is(counts.moved, 323);
  assert.is(counts.polls, 201);
  assert.is(counts.emptyPolls, 40);
  assert.ok(counts.seconds >= 1);
  assert.is(counts.calls, counts.seconds * 10);
});

counting('keeps `this` of a method', () => {
  const counter = new PollCounter('emulator', 1, clock());
  const model = {
    frames: 5,
    poll: counter.wrap(function (this: { frames: number }) {
      return this.frames;
    } as () => number),
  };
  assert.is(model.poll(), 5);
});

counting('the time of polls without packets is taken off', () => {
  // Empty polls take 1, those with packets 5; the sixth block was interrupted.
  const times = Float64Array.of(4, 4, 8, 20, 4, 5000, 12);
  assert.is(busyPollMs(times, [0, 0, 1, 4, 0, 1, 2], 4), 5);
  assert.is(busyPollMs(Float64Array.of(20, 20), [4, 4], 4), 5, 'a forwarder that never waits');
  assert.is(busyPollMs(Float64Array.of(1, 7, 9, 1), [0, 1, 1, 0], 1), 8);
});

counting('only the poll loop is redirected, and not for the one that counts', () => {
  const url = new URL('../../src/forward/poll-loop.js', import.meta.url).href;
  const counted = new URL('../../bench/alternatives/counted-poll-loop.js', import.meta.url).href;
  const other = { url: new URL('../../src/driver/wait.js', import.meta.url).href };
  assert.is(redirect({ url }, {}).url, counted);
  assert.is(redirect({ url }, { parentURL: counted }).url, url);
  assert.is(redirect(other, {}), other);
});

counting.run();
