/**
 * `barewire capture` beside the kernel's tcpdump: what arrives at device under test 0 is what tcpdump saw leave the other end of
 * the wire, frame for frame. Needs interface `k0` in namespace A, and the device bound to vfio-pci.
 */
import { existsSync, mkdtempSync, statSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { type CapturedFrame, CaptureReader } from '../../src/capture/capture-reader.js';
import { nicAddress } from './guest.js';
import { PacketSocket } from './packet-socket.js';
import { Capture } from './pcap.js';
import { run, sleep, start, waitFor } from './processes.js';
import { suite } from './suite.js';
import { BAREWIRE, isTestFrame, note, testFrame } from './wire.js';

/** A MAC fills shorter frames up to this, behind where tcpdump looks. */
const MIN_FRAME_BYTES = 60;
const ETHERTYPE_ARP = 0x0806;
const WAIT_MS = 120_000;

/** What a capture has so far, while it is being written. */
async function framesSoFar(path: string): Promise<CapturedFrame[]> {
  const frames: CapturedFrame[] = [];
  try {
    for await (const frame of await CaptureReader.open(path)) frames.push(frame);
  } catch {
    // Its end is not there yet.
  }
  return frames;
}

const numberOf = ({ bytes }: CapturedFrame): number | undefined =>
  isTestFrame(bytes) ? Buffer.from(bytes).readUInt32BE(14) : undefined;

async function waitForFrame(path: string, number: number): Promise<void> {
  const deadline = Date.now() + WAIT_MS;
  while (!(await framesSoFar(path)).some((frame) => numberOf(frame) === number)) {
    if (Date.now() > deadline) throw new Error(`frame ${number} is not in ${path}`);
    await sleep(200);
  }
}

/** From the first test frame to the last, with what the kernel sent by itself in between. */
function between(frames: readonly CapturedFrame[]): string[] {
  const first = frames.findIndex((frame) => numberOf(frame) !== undefined);
  const last = frames.findLastIndex((frame) => numberOf(frame) !== undefined);
  return frames.slice(first, last + 1).map(({ bytes, originalBytes }) => {
    const sent = Buffer.alloc(Math.max(bytes.length, MIN_FRAME_BYTES));
    sent.set(bytes);
    return `${Math.max(originalBytes, MIN_FRAME_BYTES)} ${sent.toString('hex')}`;
  });
}

/** Frames of many lengths, to this port and to others, with and without a VLAN tag. They all fit into a receive ring. */
function sendFrames(): { last: number } {
  const socket = new PacketSocket('k0', 'A');
  let number = 0;
  for (let lengthBytes = 60; lengthBytes <= 1514; lengthBytes += 6, number++)
    socket.send(testFrame(lengthBytes, number));
  const tagged = Buffer.from('ffffffffffff02000000000181000007080045', 'hex');
  socket.send(Buffer.concat([tagged, Buffer.alloc(100, 7)]));
  // The kernel asks who has an address that nobody has: frames of 42 bytes.
  run('bash', ['-c', 'echo > /dev/udp/10.0.0.99/9'], { netns: 'A' });
  socket.send(testFrame(61, number));
  socket.close();
  return { last: number };
}

export function runCaptureSuite(): void {
  const capture = suite('capture');

  capture('what is in the file is what tcpdump saw at the peer, frame for frame', async () => {
    const path = `${mkdtempSync('/tmp/barewire-')}/it.pcapng.gz`;
    const command = start(process.execPath, [BAREWIRE, 'capture', nicAddress(0), '-w', path]);
    await waitFor('the beginning of the capture', () => existsSync(path) && statSync(path).size > 0);
    const tcpdump = await Capture.start('k0', { netns: 'A', snapBytes: 2048 });
    const { last } = sendFrames();
    await waitForFrame(path, last);
    await waitForFrame(tcpdump.path, last);
    const theirs = await tcpdump.stop();
    const { status, stderr } = await command.stop('SIGINT');
    assert.is(status, 0, stderr);
    const ours = await framesSoFar(path);
    const [, received, damaged] =
      /^captured (\d+) of \1 frames; lost by the port 0, damaged (\d), not written 0\n$/.exec(stderr) ?? [];
    assert.is(Number(received), ours.length, stderr);
    // QEMU delivers frames that no MAC has filled up to the shortest, and counts them in RUC; the kernel asks three times, also
    // between the capture's end and its port's.
    const short = ours.filter(({ bytes }) => Buffer.from(bytes).readUInt16BE(12) === ETHERTYPE_ARP).length;
    assert.ok(Number(damaged) >= short && Number(damaged) <= 3, stderr);
    const [wanted, written] = [between(theirs), between(ours)];
    assert.ok(wanted.length > last, `${wanted.length} frames`);
    assert.equal(written, wanted);
    run('gzip', ['-t', path]);
    assert.ok(
      ours.every(({ timeNs }, i) => i === 0 || timeNs >= ours[i - 1]!.timeNs),
      'in time order',
    );
    note(`capture: ${written.length} frames as tcpdump saw them`);
  });

  capture.run();
}
