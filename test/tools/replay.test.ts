/** `barewire replay` on simulated cards, under a clock that each poll moves on: what leaves, in which order, and when. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { CaptureReader } from '../../src/capture/capture-reader.js';
import { compileFilter } from '../../src/capture/filter/index.js';
import type { FrameView } from '../../src/capture/frame-decoder.js';
import { ManualClock } from '../../src/clock.js';
import { open } from '../../src/driver/registry.js';
import { parseMac } from '../../src/packet/addresses.js';
import { ipv4ChecksumState, l4ChecksumState } from '../../src/packet/frame-checksums.js';
import { PacketView } from '../../src/packet/packet-view.js';
import { parse } from '../../src/packet/parse.js';
import { buildTcp, buildUdp } from '../../src/packet/transport-builder.js';
import { Replay, type ReplayOptions } from '../../tools/commands/replay.js';
import { runTraffic } from '../../tools/traffic-run.js';
import {
  interfaceBlock,
  option,
  packetBlock,
  pcapFile,
  sectionHeader,
  someFrame,
} from '../capture/make-capture.js';
import { captureLines } from '../support/capture.js';
import { plugIn } from '../support/made-up-family/scheme.js';
import { suite } from '../support/suite.js';

const STEP_NS = 5000;
const SLOTS = [70, 71] as const;

const replay = suite('replay');
const directory = mkdtempSync(join(tmpdir(), 'barewire-replay-'));

replay.after(() => rmSync(directory, { recursive: true, force: true }));

interface Sent {
  readonly port: number;
  readonly timeNs: number;
  readonly bytes: Uint8Array;
}

interface Run {
  readonly sent: readonly Sent[];
  readonly report: Readonly<Record<string, unknown>>;
  readonly error: Error | undefined;
  /** What was written to standard error. */
  readonly notes: readonly string[];
}

let files = 0;

/**
 * @param ports how many ports it has; `portOf` says which takes a frame
 * @param stopAfter it is stopped, as by a signal, when so many frames have left
 */
async function run(
  file: Buffer,
  options: Partial<ReplayOptions> = {},
  ports = 1,
  portOf: (frame: FrameView) => number = () => 0,
  stopAfter = Number.POSITIVE_INFINITY,
): Promise<Run> {
  const path = join(directory, `${files++}`);
  writeFileSync(path, file);
  const reader = await CaptureReader.open(path);
  const clock = new ManualClock();
  const sent: Sent[] = [];
  const cards = SLOTS.slice(0, ports).map((slot, port) => {
    const card = plugIn(slot);
    card.plug({
      arrive(frame) {
        sent.push({ port, timeNs: clock.nowNs(), bytes: Uint8Array.from(frame) });
        return true;
      },
    });
    return card;
  });
  let error: Error | undefined;
  let pool: Awaited<ReturnType<typeof open>>['pool'] | undefined;
  let made: Replay | undefined;
  let lines: readonly string[] = [];
  const action = async (): Promise<void> => {
    await runTraffic(
      SLOTS.slice(0, ports).map((slot) => async () => {
        const device = await open(
          `made-up:${slot}`,
          pool === undefined ? { buffersForDevices: ports } : { pool },
        );
        pool ??= device.pool;
        return device;
      }),
      (devices, given) => {
        for (const card of cards) card.automatic = false;
        const filter = options.filter === undefined ? undefined : compileFilter(options.filter);
        made = new Replay(
          reader,
          devices,
          { speed: 1, loop: 1, json: true, ...options },
          { filter, portOf },
          given,
        );
        const it = made;
        return {
          wakeOn: [],
          report: it.report,
          get done() {
            return it.done || sent.length >= stopAfter;
          },
          poll() {
            clock.advanceNs(STEP_NS);
            const count = it.poll();
            for (const card of cards) card.work();
            return count;
          },
          afterTotals: () => it.afterTotals(),
        };
      },
      { json: true, clock },
    ).catch((reason: Error) => {
      error = reason;
    });
    await made!.close();
  };
  const notes = await captureLines(async () => {
    lines = await captureLines(action);
  }, process.stderr);
  const report = lines.map((line) => JSON.parse(line)).find(({ type }) => type === 'replay');
  return { sent, report, error, notes };
}

/** Gaps from 10 us to 1 s, in microseconds. */
const TIMES_US = [0, 10, 20, 120, 1120, 11_120, 111_120, 1_111_120];
const known = pcapFile(
  TIMES_US.map((time, i) => ({
    bytes: someFrame(60 + i, i),
    seconds: 1_700_000_000 + Math.floor((999_990 + time) / 1e6),
    fraction: (999_990 + time) % 1e6,
  })),
);

/** Each frame leaves at its time, at most a poll and its length late, however late others were. */
function onTime({ sent }: Run, dueUs: readonly number[]): void {
  assert.is(sent.length, dueUs.length);
  for (const [i, { timeNs }] of sent.entries()) {
    const offsetNs = timeNs - sent[0]!.timeNs - (dueUs[i]! - dueUs[0]!) * 1000;
    assert.ok(Math.abs(offsetNs) <= STEP_NS, `frame ${i} is ${offsetNs} ns off`);
  }
}

replay('the gaps of the capture, the bytes of the capture', async () => {
  const result = await run(known);
  onTime(result, TIMES_US);
  for (const [i, { bytes }] of result.sent.entries()) assert.equal(bytes, someFrame(60 + i, i));
  assert.equal([result.report.sent, result.report.frames], [8, 8]);
  const gaps = result.report.gapErrors as { belowNs: number; count: number }[];
  assert.is(
    gaps.reduce((sum, { count }) => sum + count, 0),
    7,
  );
  assert.ok((result.report.maxLateNs as number) < STEP_NS);
});

replay('--speed, --rate, --burst', async () => {
  onTime(
    await run(known, { speed: 4 }),
    TIMES_US.map((time) => time / 4),
  );
  onTime(
    await run(known, { rate: 1000 }),
    TIMES_US.map((_, i) => i * 1000),
  );
  const { sent, report } = await run(known, { burst: true });
  assert.is(sent.length, 8);
  assert.ok(sent.every(({ timeNs }) => timeNs - sent[0]!.timeNs <= STEP_NS));
  assert.is(report.gapErrors, undefined);
});

replay('--loop: a round follows after a mean gap', async () => {
  const gap = TIMES_US.at(-1)! / 7;
  const second = TIMES_US.map((time) => time + TIMES_US.at(-1)! + gap);
  const result = await run(known, { loop: 2 });
  onTime(result, [...TIMES_US, ...second]);
  assert.equal([result.report.sent, result.report.frames], [16, 16]);
});

replay('--from and --to: a part of the capture, without the time before it', async () => {
  const { sent, report } = await run(known, { from: 1, to: 111 });
  assert.equal([sent.length, report.sent, report.outside], [2, 2, 6]);
  assert.equal(
    sent.map(({ bytes }) => bytes),
    [someFrame(64, 4), someFrame(65, 5)],
  );
});

replay('frames that are older than the first are sent, in their order', async () => {
  const nanoseconds = option(9, Uint8Array.of(9));
  const file = Buffer.concat([
    sectionHeader(),
    interfaceBlock({ options: [nanoseconds] }),
    ...[5_000_000n, 1n, 4_000_000n, 7_000_000n].map((timeNs, i) => packetBlock(someFrame(60 + i), timeNs)),
  ]);
  for (const options of [{}, { burst: true }, { speed: 2 }] as const) {
    const { sent, report } = await run(file, options);
    assert.equal([report.sent, report.outside], [4, 0]);
    assert.equal(
      sent.map(({ bytes }) => bytes.length),
      [60, 61, 62, 63],
    );
  }
});

replay('what is left out is counted by its reason, and the sum is right', async () => {
  const nanoseconds = option(9, Uint8Array.of(9));
  const udp = buildUdp({ ...ENDS, sourcePort: 1, destinationPort: 53 });
  const file = Buffer.concat([
    sectionHeader(),
    interfaceBlock({ options: [nanoseconds] }),
    interfaceBlock({ linkType: 113, options: [nanoseconds] }),
    packetBlock(udp, 1n),
    packetBlock(udp, 2n, { originalBytes: 100 }),
    packetBlock(udp.subarray(0, 13), 3n),
    packetBlock(someFrame(9000), 4n),
    packetBlock(someFrame(60), 5n, { interface: 1 }),
    packetBlock(udp, 6n).subarray(0, 40),
  ]);
  const { sent, report, error } = await run(file);
  assert.is(sent.length, 1);
  const { frames, filtered, outside, cut, tooShort, tooLong, notEthernet } = report;
  assert.equal([frames, filtered, outside, cut, tooShort, tooLong, notEthernet], [5, 0, 0, 1, 1, 1, 1]);
  assert.match(error?.message ?? '', /ends inside a block/);
  const chosen = await run(pcapFile([{ bytes: udp }, { bytes: someFrame(60) }]), { filter: 'udp' });
  assert.equal([chosen.sent.length, chosen.report.filtered], [1, 1]);
});

replay('a frame that is too long is told, once', async () => {
  const { sent, report, notes } = await run(
    pcapFile([{ bytes: someFrame(60) }, { bytes: someFrame(9000) }, { bytes: someFrame(9001) }]),
  );
  assert.equal([sent.length, report.tooLong], [1, 2]);
  assert.is(notes.length, 2, 'a warning and its hint');
  assert.match(notes[0]!, /frame 2 has 9000 bytes, and the port sends up to \d+; .* left out/);
});

replay('no frame that can be sent: an error that says why', async () => {
  for (const [file, says] of [
    [pcapFile([]), /has no frames$/],
    [pcapFile([{ bytes: someFrame(60), originalBytes: 100 }]), /has no frame to send of 1; left out 1 cut/],
    [
      Buffer.concat([sectionHeader(), interfaceBlock({ linkType: 113 }), packetBlock(someFrame(60), 1n)]),
      /has frames of link type LINUX_SLL \(113\), not of ETHERNET$/,
    ],
  ] as const) {
    const { sent, error } = await run(file);
    assert.is(sent.length, 0);
    assert.match(error?.message ?? '', says);
  }
});

const MACS = { sourceMac: '02:00:00:00:00:01', destinationMac: '02:00:00:00:00:02' };
const ENDS = { ...MACS, sourceIp: '10.0.0.1', destinationIp: '10.1.2.3' };

replay('addresses change, and the checksums with them', async () => {
  const payload = someFrame(31);
  const frames = [
    buildUdp({ ...ENDS, sourcePort: 1, destinationPort: 2, payload }),
    buildTcp({ ...ENDS, sourcePort: 1, destinationPort: 2, payload }),
  ];
  const map = [{ from: 0x0a01_0000, to: 0xc0a8_0000, mask: 0xffff_0000 }];
  const macs = { srcMac: parseMac('02:00:00:00:00:0a'), dstMac: parseMac('02:00:00:00:00:0b') };
  const { sent } = await run(pcapFile(frames.map((bytes) => ({ bytes }))), { map, ...macs });
  const wanted = {
    ...ENDS,
    sourceMac: macs.srcMac,
    destinationMac: macs.dstMac,
    destinationIp: '192.168.2.3',
  };
  assert.equal(sent[0]!.bytes, buildUdp({ ...wanted, sourcePort: 1, destinationPort: 2, payload }));
  assert.equal(sent[1]!.bytes, buildTcp({ ...wanted, sourcePort: 1, destinationPort: 2, payload }));
  for (const { bytes } of sent) {
    const view = new PacketView();
    parse(bytes, 0, bytes.length, view);
    assert.equal([ipv4ChecksumState(view), l4ChecksumState(view)], ['good', 'good']);
  }
});

replay('--vlan: a tag is added, changed, or taken off', async () => {
  const plain = buildUdp({ ...ENDS, sourcePort: 1, destinationPort: 2, payload: new Uint8Array(30) });
  const tagged = buildUdp({
    ...ENDS,
    vlan: [{ id: 5, priority: 3 }],
    sourcePort: 1,
    destinationPort: 2,
    payload: new Uint8Array(30),
  });
  const wanted = (id: number, priority: number): Uint8Array =>
    buildUdp({
      ...ENDS,
      vlan: [{ id, priority }],
      sourcePort: 1,
      destinationPort: 2,
      payload: new Uint8Array(30),
    });
  const file = pcapFile([{ bytes: plain }, { bytes: tagged }]);
  const bytesOf = ({ sent }: Run): Uint8Array[] => sent.map(({ bytes }) => bytes);
  assert.equal(bytesOf(await run(file, { vlan: 77 })), [wanted(77, 0), wanted(77, 3)]);
  assert.equal(bytesOf(await run(file, { vlan: 'none' })), [plain, plain]);
  // One that becomes short is filled up.
  const short = await run(pcapFile([{ bytes: wanted(1, 0).subarray(0, 60) }]), { vlan: 'none' });
  assert.is(short.sent[0]!.bytes.length, 60);
});

replay('two ports: each frame by its own, in order', async () => {
  const client = buildUdp({ ...ENDS, sourcePort: 1, destinationPort: 2 });
  const server = buildUdp({
    ...ENDS,
    sourceIp: '10.1.2.3',
    destinationIp: '10.0.0.1',
    sourcePort: 2,
    destinationPort: 1,
  });
  const file = pcapFile([client, server, server, client].map((bytes, i) => ({ bytes, fraction: 100 * i })));
  const isClient = compileFilter('src host 10.0.0.1');
  const { sent } = await run(file, {}, 2, ({ bytes, offsetBytes, lengthBytes }) =>
    isClient(bytes, offsetBytes, lengthBytes, lengthBytes) ? 0 : 1,
  );
  assert.equal(
    sent.map(({ port, bytes }) => [port, bytes]),
    [
      [0, client],
      [1, server],
      [1, server],
      [0, client],
    ],
  );
});

replay('stopped in the middle: no failure, and the account of what was sent', async () => {
  const { sent, error, report } = await run(known, {}, 1, () => 0, 3);
  assert.is(error, undefined);
  assert.ok(sent.length >= 3 && sent.length < TIMES_US.length, `sent ${sent.length}`);
  assert.is(report.sent, sent.length);
});

replay('more frames than are read ahead, and a file whose rounds have none to send', async () => {
  const many = pcapFile(
    Array.from({ length: 5000 }, (_, i) => ({ bytes: someFrame(60 + (i % 9), i), fraction: i })),
  );
  const { sent } = await run(many, { burst: true });
  assert.is(sent.length, 5000);
  for (const [i, { bytes }] of sent.entries()) assert.equal(bytes, someFrame(60 + (i % 9), i));
  // Each round is read by a reader of its own, that has been opened before.
  const rounds = await run(many, { burst: true, loop: 3 });
  assert.equal([rounds.sent.length, rounds.report.frames], [15_000, 15_000]);
  assert.ok(rounds.sent.every(({ bytes }, i) => bytes[0] === someFrame(1, i % 5000)[0]));
  const none = await run(pcapFile([{ bytes: someFrame(60) }]), { loop: 1e9, filter: 'tcp' });
  assert.equal([none.sent.length, none.report.frames], [0, 1]);
  assert.match(none.error?.message ?? '', /has no frame to send of 1; left out 1 by the filter$/);
});

replay.run();
