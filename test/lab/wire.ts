/**
 * The network most cases need, and what is carried over it:
 *
 *     namespace A / k0 10.0.0.1 <-> u0 [forwarder] u1 <-> k1 10.0.0.2 / namespace B
 */
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import type { PortTotals } from '../../tools/traffic-report.js';
import { addNamespace } from './guest.js';
import { PacketSocket } from './packet-socket.js';
import { attempt, type Background, type Outcome, type RunOptions, run, start } from './processes.js';

export const BAREWIRE = fileURLToPath(new URL('../../tools/barewire.js', import.meta.url));
export const TCP_TRANSFER = fileURLToPath(new URL('./tcp-transfer.js', import.meta.url));

export const ADDRESS_A = '10.0.0.1';
export const ADDRESS_B = '10.0.0.2';

/** EtherType for local experiments (IEEE 802): the kernels on either side ignore it. */
const ETHERTYPE_TEST = 0x88b5;

/** Prints a line of what was measured; not a pass mark. */
export function note(text: string): void {
  process.stdout.write(`\n   ${text}\n`);
}

/** Puts both peers into namespaces A and B. */
export function addNamespaces(): void {
  addNamespace('A', 0, `${ADDRESS_A}/24`);
  addNamespace('B', 1, `${ADDRESS_B}/24`);
}

/** Starts a traffic command of `barewire` and waits until its ports are up and it has reported for the first time. */
export async function startTraffic(args: readonly string[], options: RunOptions = {}): Promise<Background> {
  const command = start(process.execPath, [BAREWIRE, ...args, '--json'], options);
  try {
    await command.waitForOutput(/"type":"rates"/, 150_000);
    return command;
  } catch (error) {
    command.kill('SIGKILL');
    throw error;
  }
}

/** The totals that a traffic command with `--json` printed last. */
export function finalTotals(outcome: Outcome): PortTotals[] {
  const lines = outcome.stdout.trimEnd().split('\n');
  // pktgen's account of its frames follows.
  const last = lines.at(-1)?.startsWith('{"type":"account"') ? lines.at(-2) : lines.at(-1);
  const line: { type?: string; ports: PortTotals[] } = JSON.parse(last ?? '');
  assert.is(line.type, 'totals', 'the last line has the totals');
  return line.ports;
}

/**
 * Checks of `fwd`'s totals: what came in on one port went out on the other or was counted as lost; and where the hardware
 * counts (virtio does not), it counted the same.
 */
export function assertBalanced([a, b]: readonly PortTotals[]): void {
  assert.ok(a && b);
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    assert.is(from.rxPackets, to.txPackets + to.txErrors + to.dropped, `${from.address} to ${to.address}`);
    assert.is(
      to.wireTxPackets ?? to.txPackets,
      to.txPackets,
      `${to.address}: the hardware sent what was queued`,
    );
    assert.is(
      from.wireRxPackets ?? from.rxPackets,
      from.rxPackets + (from.rxMissed ?? 0),
      `${from.address}: the hardware's receive count`,
    );
    assert.ok(from.rxPackets > 0);
  }
}

/** `received 5, sent 5, ...` of both ports, in one line. */
export function describeTotals(totals: readonly PortTotals[]): string {
  return totals
    .map((port) => {
      const { address, rxPackets, txPackets, dropped, rxMissed, rxErrors } = port;
      return `${address} received ${rxPackets} sent ${txPackets} dropped ${dropped} missed ${rxMissed} errors ${rxErrors}`;
    })
    .join('; ');
}

/**
 * Sends pings 10 ms apart from A to B and expects an answer to each of the first `count`. Returns ping's line of times. An
 * emulated machine may hesitate for longer than the two round trips that ping waits for late answers; with a deadline it
 * goes on until it has as many answers, so the numbers tell what was lost.
 */
export function assertPings(count: number, to = ADDRESS_B, ...more: string[]): string {
  const args = ['-c', `${count}`, '-i', '0.01', '-w', '60', ...more, to];
  const { stdout } = attempt('ping', args, { netns: 'A', timeoutMs: 120_000 });
  const answered = new Set(
    [...stdout.matchAll(/icmp_seq=(\d+) ttl=/g)].map(([, sequence]) => Number(sequence)),
  );
  const lost = Array.from({ length: count }, (_, i) => i + 1).filter((sequence) => !answered.has(sequence));
  assert.ok(lost.length === 0, `pings without an answer: ${lost.join(', ')}\n${stdout}`);
  return stdout.match(/rtt .*/)?.[0] ?? '';
}

/** Mbit/s that iperf3 carries from A to B. */
export async function iperf(seconds: number, ...args: string[]): Promise<number> {
  const server = start('iperf3', ['-s', '-1', '--forceflush'], { netns: 'B' });
  try {
    await server.waitForOutput(/listening/);
    const client = ['-c', ADDRESS_B, '-t', `${seconds}`, '--json', ...args];
    const result = JSON.parse(run('iperf3', client, { netns: 'A', timeoutMs: 120_000 }));
    return Math.round(result.end.sum_received.bits_per_second / 1e5) / 10;
  } finally {
    await server.stop('SIGTERM');
  }
}

/** Sends random bytes over TCP from one namespace to the other, and expects the same there. Returns Mbit/s. */
export async function assertTcp(from: 'A' | 'B', sizeBytes: number): Promise<number> {
  const to = from === 'A' ? 'B' : 'A';
  const receiver = start(process.execPath, [TCP_TRANSFER, 'receive'], { netns: to });
  const [, port] = await receiver.waitForOutput(/port (\d+)/);
  const startMs = performance.now();
  const target = to === 'A' ? ADDRESS_A : ADDRESS_B;
  const sender = start(process.execPath, [TCP_TRANSFER, 'send', target, port!, `${sizeBytes}`], {
    netns: from,
  });
  const [sent, received] = await Promise.all([sender.ended, receiver.ended]);
  const seconds = (performance.now() - startMs) / 1000;
  assert.is(sent.status, 0, sent.stderr);
  assert.is(received.status, 0, received.stderr);
  const result = /^(\d+) bytes, SHA-256 ([0-9a-f]{64})$/m;
  const [sentText, sentBytes] = sent.stdout.match(result) ?? [];
  assert.is(Number(sentBytes), sizeBytes);
  assert.is(received.stdout.match(result)?.[0], sentText, 'the receiver has the same bytes');
  return Math.round((sizeBytes * 8) / seconds / 1e5) / 10;
}

/** A frame of that length without FCS whose contents depend on its length and number. */
export function testFrame(lengthBytes: number, number: number): Buffer {
  const frame = Buffer.alloc(lengthBytes);
  frame.write('020000000b02020000000a01', 0, 'hex');
  frame.writeUInt16BE(ETHERTYPE_TEST, 12);
  frame.writeUInt32BE(number, 14);
  let state = (number * 2654435761 + lengthBytes) >>> 0;
  for (let i = 18; i < lengthBytes; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    frame[i] = state >>> 24;
  }
  return frame;
}

export function isTestFrame(frame: Uint8Array): boolean {
  return frame[12] === ETHERTYPE_TEST >> 8 && frame[13] === (ETHERTYPE_TEST & 0xff);
}

/** Sends frames from one interface, in bursts that rings have room for, and expects them unchanged and in order. */
export async function assertFramesPass(
  from: PacketSocket,
  to: PacketSocket,
  frames: readonly Buffer[],
): Promise<void> {
  const burst = 48;
  for (let first = 0; first < frames.length; first += burst) {
    const sent = frames.slice(first, first + burst);
    for (const frame of sent) from.send(frame);
    const received = await to.collect(sent.length, isTestFrame, 90_000);
    for (const [i, frame] of sent.entries()) {
      const got = received[i] ? Buffer.from(received[i]) : undefined;
      if (!got?.equals(frame)) {
        const what = got ? `is ${got.toString('hex')}` : 'did not arrive';
        assert.unreachable(
          `frame ${first + i} of ${frame.length} bytes ${what}; sent ${frame.toString('hex')}; ` +
            `arrived: ${received.map((bytes) => Buffer.from(bytes).readUInt32BE(14)).join()}`,
        );
      }
    }
  }
  // None twice.
  assert.is((await to.collect(1, isTestFrame, 200)).length, 0);
}

/** Opens sockets on both interfaces, passes frames of all lengths each way. Returns how many frames that were. */
export async function assertAllLengthsPass(
  interfaces: readonly [string, string] = ['k0', 'k1'],
): Promise<number> {
  const minBytes = 60;
  const maxBytes = 1514;
  const a = new PacketSocket(interfaces[0], 'A');
  const b = new PacketSocket(interfaces[1], 'B');
  try {
    const frames = Array.from({ length: maxBytes - minBytes + 1 }, (_, i) => testFrame(minBytes + i, i));
    await assertFramesPass(a, b, frames);
    await assertFramesPass(b, a, frames.toReversed());
    return 2 * frames.length;
  } finally {
    a.close();
    b.close();
  }
}

/** A word of the function's configuration space, as the hardware has it. */
export function configWord(address: string, offset: number): number {
  return withConfig(address, 'r', (fd, word) => {
    readSync(fd, word, 0, 2, offset);
    return word.readUInt16LE();
  });
}

export function writeConfigWord(address: string, offset: number, value: number): void {
  withConfig(address, 'r+', (fd, word) => {
    word.writeUInt16LE(value);
    writeSync(fd, word, 0, 2, offset);
  });
}

function withConfig<T>(address: string, flags: string, action: (fd: number, word: Buffer) => T): T {
  const fd = openSync(`/sys/bus/pci/devices/${address}/config`, flags);
  try {
    return action(fd, Buffer.alloc(2));
  } finally {
    closeSync(fd);
  }
}

/** True where the function may do DMA: bit 2 of the PCI command register. */
export function isBusMaster(address: string): boolean {
  return (configWord(address, 4) & 4) !== 0;
}

/** What a process has open under /dev/vfio, and /dev/iommu. */
export function vfioNodesOf(pid: number): string[] {
  const nodes = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return ''; // closed since the listing
    }
  });
  return nodes.filter((node) => /^\/dev\/(vfio|iommu)/.test(node)).sort();
}

/** Sum of the MSI-X interrupts that VFIO has delivered for the function since boot. */
export function vfioInterrupts(address: string): number {
  const lines = readFileSync('/proc/interrupts', 'utf8').split('\n');
  return lines
    .filter((line) => line.includes(`vfio-msix`) && line.includes(`(${address})`))
    .flatMap((line) => line.trim().split(/\s+/).slice(1))
    .filter((word) => /^\d+$/.test(word))
    .reduce((sum, word) => sum + Number(word), 0);
}

/** Seconds of processor time that a process has used, in user mode and in the kernel. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  // Fields 14 and 15 of proc(5), in ticks of 10 ms; the first here is field 3.
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
