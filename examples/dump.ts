/**
 * Prints a line for each packet that arrives, until COUNT have (if given) or Ctrl-C:
 *
 *     node dist/examples/dump.js 0000:03:00.0 10
 *     12:01:07.123   98 bytes 52:54:00:00:01:00 > ff:ff:ff:ff:ff:ff type 0x0806
 */
import { open, pollLoop } from 'barewire';

const [address, countText] = process.argv.slice(2);
const count = countText === undefined ? Number.POSITIVE_INFINITY : Number(countText);
if (address === undefined || !(count >= 1)) {
  console.error('usage: dump.js PORT [COUNT]');
  process.exit(2);
}

const stop = new AbortController();
process.once('SIGINT', () => stop.abort());

const nic = await open(address, { promiscuous: true });
try {
  const { pool } = nic;
  const rx = nic.rxQueues[0];
  const bufs = new Uint32Array(32);
  let printed = 0;
  const poll = (): number => {
    const received = rx.receive(bufs, Math.min(bufs.length, count - printed));
    for (let i = 0; i < received; i++) {
      const buf = bufs[i]!;
      print(pool.bytes(buf), pool.lengths[buf]!);
    }
    pool.release(bufs, received);
    printed += received;
    if (printed >= count) stop.abort();
    return received;
  };
  await pollLoop(poll, { signal: stop.signal, devices: [nic] });
} finally {
  await nic.close();
}

function print(frame: Uint8Array, length: number): void {
  const time = new Date().toISOString().slice(11, 23);
  const [to, from, type] = [hex(frame, 0, 6, ':'), hex(frame, 6, 12, ':'), hex(frame, 12, 14, '')];
  console.log(`${time} ${String(length).padStart(4)} bytes ${from} > ${to} type 0x${type}`);
}

function hex(bytes: Uint8Array, from: number, to: number, separator: string): string {
  return Array.from(bytes.subarray(from, to), (byte) => byte.toString(16).padStart(2, '0')).join(separator);
}
