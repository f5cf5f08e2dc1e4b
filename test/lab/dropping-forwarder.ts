/**
 * Forwards between two ports by pipes, and drops every test frame whose number is divisible by three. Ends on SIGTERM and
 * prints its counts.
 */
import { connectQueues, type NetDevice, open, PacketPool, pollLoop } from '../../src/index.js';

const stop = new AbortController();
process.once('SIGTERM', () => stop.abort());
const pool = new PacketPool();
const ports: NetDevice[] = [];
try {
  for (const address of process.argv.slice(2)) ports.push(await open(address, { pool, promiscuous: true }));
  const [a, b] = ports as [NetDevice, NetDevice];
  const view = new DataView(pool.frames.buffer, pool.frames.byteOffset, pool.frames.byteLength);
  const onPacket = (packet: number, lengthBytes: number): number => {
    const start = packet << pool.bufferShift;
    const dropped = view.getUint16(start + 12) === 0x88b5 && view.getUint32(start + 14) % 3 === 0;
    return dropped ? 0 : lengthBytes;
  };
  const options = { path: 'pipe', onPacket } as const;
  const there = connectQueues(a.rxQueues[0]!, b.txQueues[0]!, options);
  const back = connectQueues(b.rxQueues[0]!, a.txQueues[0]!, options);
  console.log('ready');
  await pollLoop(() => there.poll() + back.poll(), { signal: stop.signal, devices: ports });
  const [statsA, statsB] = [a.stats(), b.stats()];
  console.log(
    JSON.stringify({
      received: [statsA.rxPackets, statsB.rxPackets],
      sent: [statsB.txPackets, statsA.txPackets],
      errors: [statsB.txErrors, statsA.txErrors],
      dropped: [there.dropped, back.dropped],
    }),
  );
} finally {
  for (const port of ports) await port.close();
  console.log(JSON.stringify({ free: pool.available, capacity: pool.capacity }));
  pool.close();
}
