/**
 * Answers ping, without a network stack: ARP requests and ICMP echo requests, for one IPv4 address or for any.
 *
 *     node dist/examples/echo.js 0000:03:00.0 10.0.0.9
 */
import { isIPv4 } from 'node:net';
import { open, pollLoop } from 'barewire';

const [address, ip] = process.argv.slice(2);
if (address === undefined || (ip !== undefined && !isIPv4(ip))) {
  console.error('usage: echo.js PORT [IPV4-ADDRESS]');
  process.exit(2);
}
const ownIp = ip?.split('.').map(Number) ?? []; // empty: any

const stop = new AbortController();
process.once('SIGINT', () => stop.abort());

const nic = await open(address);
try {
  const { pool, mac } = nic;
  const bufs = new Uint32Array(32);
  const poll = (): number => {
    const received = nic.rxQueues[0].receive(bufs);
    let answers = 0;
    for (let i = 0; i < received; i++) {
      const buf = bufs[i]!;
      // The answer is written over the request: the same buffer goes out again.
      if (pool.lengths[buf]! >= 42 && answer(pool.bytes(buf), mac)) bufs[answers++] = buf;
      else pool.release(bufs, 1, i);
    }
    const sent = nic.txQueues[0].send(bufs, answers);
    pool.release(bufs, answers - sent, sent); // no room in the ring
    return received;
  };
  await pollLoop(poll, { signal: stop.signal, devices: [nic] });
} finally {
  await nic.close();
}

/** Turns an ARP or ICMP echo request into its answer; false for any other frame. */
function answer(frame: Uint8Array, mac: Uint8Array): boolean {
  const has = (offset: number, bytes: number[]) => bytes.every((byte, i) => frame[offset + i] === byte);
  const swap = (at: number, size: number) =>
    frame.set([...frame.subarray(at + size, at + 2 * size), ...frame.subarray(at, at + size)], at);
  if (has(12, [0x08, 0x06]) && frame[21] === 1 && has(38, ownIp)) {
    frame[21] = 2; // from request to reply
    swap(22, 10); // MAC and IP address of who asks and who is asked
    frame.set(mac, 22);
  } else if (has(12, [0x08, 0x00, 0x45]) && frame[23] === 1 && frame[34] === 8 && has(30, ownIp)) {
    swap(26, 4);
    frame[34] = 0; // from echo request to echo reply; the checksum grows by what the type lost
    const sum = ((frame[36]! << 8) | frame[37]!) + 0x0800;
    frame.set([(sum + (sum >> 16)) >> 8, sum + (sum >> 16)], 36);
  } else return false;
  swap(0, 6);
  frame.set(mac, 6);
  return true;
}
