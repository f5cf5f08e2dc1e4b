/**
 * The kernel at the other end of the wire receives exactly the frames that `barewire pktgen` says it sent, and `barewire capture`
 * receives exactly what the kernel sends.
 */
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { runCaptureSuite } from '../capture-suite.js';
import { addNamespace, bindDriver, nicAddress } from '../guest.js';
import { PacketSocket } from '../packet-socket.js';
import { Capture, type CapturedFrame } from '../pcap.js';
import { attempt, type Outcome, run, start, waitFor } from '../processes.js';
import { dutMac } from '../qemu.js';
import { suite } from '../suite.js';
import { assertPings, BAREWIRE, finalTotals, note } from '../wire.js';

const pktgen = suite('pktgen');
const address = nicAddress(0);
const RESPONDER = fileURLToPath(new URL('../../../examples/traffic/responder.js', import.meta.url));
/** The address that it answers for. */
const RESPONDER_IP = '10.0.0.9';
const FCS_BYTES = 4;
const ETHERNET_BYTES = 14;
const UDP_OFFSET = 34;
const PAYLOAD_OFFSET = 42;

/** Magic number of pktgen's payload, its version 1 without flags, and where its fields lie (src/packet/test-frame.ts). */
const MAGIC = 'BW';
const VERSION = 0x10;
const CHECK_OFFSET = PAYLOAD_OFFSET + 3;
const SEQUENCE_OFFSET = PAYLOAD_OFFSET + 4;
const FLOW_OFFSET = PAYLOAD_OFFSET + 12;
const PATTERN_OFFSET = PAYLOAD_OFFSET + 18;

/** Internet checksum over the bytes and a starting sum (RFC 1071); 0 where a checksum among them is right. */
function checksum(bytes: Buffer, start = 0): number {
  let sum = start;
  for (let i = 0; i < bytes.length; i++) sum += i % 2 === 0 ? bytes[i]! << 8 : bytes[i]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/**
 * Looks at every byte of the frame that is pktgen's number `sequence` of that size (FCS included). On purpose it uses nothing of
 * src/packet, which made the frame.
 */
function assertFrame(bytes: Uint8Array, sequence: number, sizeBytes: number, destinationMac: string): void {
  const frame = Buffer.from(bytes);
  const what = `frame ${sequence} of ${sizeBytes} bytes`;
  assert.is(frame.length, sizeBytes - FCS_BYTES, what);
  assert.is(frame.toString('hex', 0, 6), destinationMac.replaceAll(':', ''), what);
  assert.is(frame.toString('hex', 6, 12), dutMac(0).replaceAll(':', ''), what);
  assert.is(frame.readUInt16BE(12), 0x0800, what);
  const ip = frame.subarray(ETHERNET_BYTES, UDP_OFFSET);
  assert.is(ip[0], 0x45, what);
  assert.is(ip.readUInt16BE(2), frame.length - ETHERNET_BYTES, what);
  assert.is(ip[9], 17, `${what}: protocol UDP`);
  assert.is(checksum(ip), 0, `${what}: checksum of the IP header`);
  const udp = frame.subarray(UDP_OFFSET);
  assert.is(udp.readUInt16BE(4), udp.length, what);
  assert.is.not(udp.readUInt16BE(6), 0, `${what}: has a UDP checksum`);
  const pseudoHeader = Buffer.concat([ip.subarray(12, 20), Buffer.of(0, 17), udp.subarray(4, 6)]);
  assert.is(checksum(udp, ~checksum(pseudoHeader) & 0xffff), 0, `${what}: UDP checksum`);
  assert.ok(isOurs(frame), what);
  assert.is(frame.readBigUInt64BE(SEQUENCE_OFFSET), BigInt(sequence), what);
  assert.is(frame.readUInt16BE(FLOW_OFFSET), 0, `${what}: flow`);
  const fields = [...frame.subarray(SEQUENCE_OFFSET, PATTERN_OFFSET)];
  assert.is(
    frame[CHECK_OFFSET],
    fields.reduce((xor, byte) => xor ^ byte, VERSION),
    `${what}: check byte`,
  );
  for (const [i, byte] of frame.subarray(PATTERN_OFFSET).entries())
    assert.is(byte, (7 * i + 3) % 256, `${what}: pattern at ${i}`);
}

const isOurs = (frame: Uint8Array) =>
  Buffer.from(frame).toString('latin1', PAYLOAD_OFFSET, PAYLOAD_OFFSET + 2) === MAGIC &&
  frame[PAYLOAD_OFFSET + 2] === VERSION;

/** Checks the report of a run that has sent `count` frames: the driver's counts and the hardware's. */
function assertReport(outcome: Outcome, count: number, sizeBytes: number): void {
  assert.is(outcome.status, 0, outcome.stderr);
  assert.is(outcome.stderr, '');
  const [port] = finalTotals(outcome);
  assert.is(port!.txPackets, count);
  assert.is(port!.txBytes, count * (sizeBytes - FCS_BYTES));
  assert.is(port!.txErrors, 0);
  assert.is(port!.wireTxPackets, count);
  assert.is(port!.wireTxBytes, count * sizeBytes);
}

/** Frames that the kernel at the other end has received: the sum of its driver's counters. */
function kernelCount(): number {
  const [link] = JSON.parse(run('ip', ['-n', 'A', '-json', '-statistics', 'link', 'show', 'k0']));
  return link.stats64.rx.packets;
}

/** The kernel has counted exactly `count` frames since it had counted `before`. */
async function assertKernelCounted(before: number, count: number): Promise<void> {
  const since = (): number => kernelCount() - before;
  await waitFor(`the kernel to count ${count} frames`, () => since() >= count, 10_000).catch(() => {});
  assert.is(since(), count, 'frames that the kernel counted');
}

pktgen.before(() => {
  addNamespace('A', 0, '10.0.0.1/24');
  bindDriver(address, 'vfio-pci');
});

for (const [sizeBytes, count, ...options] of [
  [64, 1000],
  [65, 100, '--batch', '1'],
  [128, 700, '--batch', '256'],
  [777, 500, '--rate', '1k'],
  [1518, 300],
] as [number, number, ...string[]][]) {
  pktgen(
    `--size ${sizeBytes} --count ${count} ${options.join(' ')}: as many frames, numbered, without a fault`,
    async () => {
      const socket = new PacketSocket('k0', 'A');
      const args = ['pktgen', address, '--json', '--size', `${sizeBytes}`, '--count', `${count}`, ...options];
      const command = start(process.execPath, [BAREWIRE, ...args]);
      const frames = await socket.collect(count, isOurs, 150_000);
      const outcome = await command.ended;
      assert.equal(await socket.collect(1, isOurs, 300), [], 'no frame more');
      socket.close();
      assert.is(frames.length, count);
      for (const [i, frame] of frames.entries()) assertFrame(frame, i, sizeBytes, '02:00:00:00:00:01');
      assertReport(outcome, count, sizeBytes);
    },
  );
}

pktgen(
  'as tcpdump and the kernel see it, and `stats` meanwhile, at a rate, to a MAC address, until SIGINT',
  async () => {
    const rate = 300;
    const before = kernelCount();
    const capture = await Capture.start('k0', { netns: 'A', filter: 'udp port 9' });
    const args = ['pktgen', address, '--json', '--rate', `${rate}`, '--dst-mac', '02:00:00:00:99:01'];
    const startMs = performance.now();
    const command = start(process.execPath, [BAREWIRE, ...args]);
    await command.waitForOutput(/("type":"rates".*\n[\s\S]*){3}/, 150_000);
    const { stats, registers } = JSON.parse(run(process.execPath, [BAREWIRE, 'stats', address, '--json']));
    const outcome = await command.stop('SIGINT');
    const seconds = (performance.now() - startMs) / 1000;
    const frames: CapturedFrame[] = await capture.stop(finalTotals(outcome)[0]!.txPackets);
    for (const [i, frame] of frames.entries()) assertFrame(frame.bytes, i, 64, '02:00:00:00:99:01');
    assertReport(outcome, frames.length, 64);
    await assertKernelCounted(before, frames.length);
    const { GPTC, PTC64, TPT, GOTC } = registers;
    // Read one after the other, within less than a second.
    for (const [name, value] of Object.entries({ PTC64, TPT, 'GOTC / 64': GOTC / 64 }))
      assert.ok(value >= GPTC - rate && value <= GPTC + rate, `${name} ${value} beside GPTC ${GPTC}`);
    assert.ok(GPTC > 2 * rate && GPTC <= stats.wireTxPackets && GPTC <= frames.length, `GPTC ${GPTC}`);
    // Without the limit it would be thousands a second.
    assert.ok(frames.length > rate && frames.length <= rate * seconds, `${frames.length} in ${seconds} s`);
    note(`pktgen --rate ${rate}: ${frames.length} frames in ${seconds.toFixed(1)} s, start-up included`);
  },
);

// The kernel does not keep up with it, so its count says nothing here.
pktgen('at full speed for a time', async () => {
  const command = start(process.execPath, [BAREWIRE, 'pktgen', address, '--json', '--duration', '3']);
  const outcome = await command.ended;
  const sent = finalTotals(outcome)[0]!.txPackets;
  assertReport(outcome, sent, 64);
  assert.ok(sent > 0);
  note(`pktgen: ${sent} frames of 64 bytes in 3 s`);
});

pktgen(
  'fields that change, sizes of a mix: the report, the kernel and tcpdump agree to the frame',
  async () => {
    const count = 2000;
    const before = kernelCount();
    const capture = await Capture.start('k0', { netns: 'A', filter: 'udp' });
    const flow = [
      '--src-ip',
      '10.0.0.20-10.0.0.29',
      '--dst-port',
      '1000-1999~',
      '--size',
      'imix',
      '--rate',
      '1k',
    ];
    const outcome = await start(process.execPath, [
      BAREWIRE,
      ...['pktgen', address, '--json', '--count', `${count}`, ...flow],
    ]).ended;
    assert.is(outcome.status, 0, outcome.stderr);
    const frames = await capture.stop(count);
    assert.is(frames.length, count);
    const [port] = finalTotals(outcome);
    assert.is(port!.txPackets, count);
    assert.is(port!.wireTxPackets, count);
    assert.is(
      port!.wireTxBytes,
      frames.reduce((sum, { bytes }) => sum + bytes.length + FCS_BYTES, 0),
    );
    await assertKernelCounted(before, count);
    for (const [i, { bytes }] of frames.entries())
      assert.is(bytes[29], 20 + (i % 10), `source of frame ${i}`);
  },
);

pktgen('the example that answers ARP and ping answers the kernel: 100 of 100', async () => {
  const command = start(process.execPath, [BAREWIRE, 'pktgen', address, '--script', RESPONDER]);
  // It asks for the address first, and is answered as soon as the script runs.
  await waitFor(
    'an answer to ARP',
    () => attempt('ping', ['-c', '1', '-W', '1', RESPONDER_IP], { netns: 'A' }).status === 0,
  );
  note(`responder.ts: ping ${assertPings(100, RESPONDER_IP)}`);
  const outcome = await command.stop('SIGINT');
  assert.is(outcome.status, 0, outcome.stderr);
});

pktgen.run();
runCaptureSuite();
