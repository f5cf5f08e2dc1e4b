/**
 * Forwards every frame between two ports, both ways, until Ctrl-C:
 *
 *     node dist/examples/forward.js 0000:03:00.0 0000:03:00.1
 */
import { connectQueues, type NetDevice, open, PacketPool, pollLoop } from 'barewire';

const addresses = process.argv.slice(2);
if (addresses.length !== 2) {
  console.error('usage: forward.js PORT PORT');
  process.exit(2);
}

const stop = new AbortController();
process.once('SIGINT', () => stop.abort());

// One pool for both ports: what one has received the other can send, without a copy.
const pool = new PacketPool();
const ports: NetDevice[] = [];
try {
  for (const address of addresses) ports.push(await open(address, { pool, promiscuous: true }));
  const [a, b] = ports as [NetDevice, NetDevice];
  const there = connectQueues(a.rxQueues[0], b.txQueues[0]);
  const back = connectQueues(b.rxQueues[0], a.txQueues[0]);
  // Polls under load; sleeps until an interrupt of either port when nothing comes.
  await pollLoop(() => there.poll() + back.poll(), { signal: stop.signal, devices: ports });
  for (const port of ports) {
    const { rxPackets, txPackets } = port.stats();
    console.log(`${port.address}: received ${rxPackets}, sent ${txPackets}`);
  }
} finally {
  for (const port of ports) await port.close();
  pool.close();
}
