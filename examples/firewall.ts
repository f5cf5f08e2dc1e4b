/**
 * A loop of its own with a cursor: forwards between two ports, both ways, and drops IPv4 packets to a UDP port, until Ctrl-C:
 *
 *     node dist/examples/firewall.js 0000:03:00.0 0000:03:00.1 53
 */
import {
  type NetDevice,
  open,
  openCursor,
  type PacketCursor,
  PacketPool,
  pollLoop,
  specialize,
} from 'barewire';

const [addressA, addressB, portText] = process.argv.slice(2);
if (addressA === undefined || addressB === undefined || portText === undefined) {
  console.error('usage: firewall.js PORT PORT UDP-PORT');
  process.exit(2);
}

/** A factory of the loop, for `specialize`: it uses nothing of this module but types. */
function makeLoop(cursor: PacketCursor, pool: PacketPool, blockedPort: number): () => number {
  const { next, push, drop, flush } = cursor;
  const { frames, bufferShift } = pool;
  const view = new DataView(frames.buffer, frames.byteOffset, frames.byteLength);
  return function poll(): number {
    let count = 0;
    for (; count < 32; count++) {
      const packet = next();
      if (packet < 0) break;
      const at = packet << bufferShift;
      // EtherType, version and header length, protocol, destination port.
      const isBlocked =
        view.getUint16(at + 12) === 0x0800 &&
        view.getUint8(at + 14) === 0x45 &&
        view.getUint8(at + 23) === 17 &&
        view.getUint16(at + 36) === blockedPort;
      if (isBlocked) drop();
      // Without room the packet stays, and is the next one again.
      else if (!push()) break;
    }
    flush();
    return count;
  };
}

const stop = new AbortController();
process.once('SIGINT', () => stop.abort());

const pool = new PacketPool();
const ports: NetDevice[] = [];
try {
  for (const address of [addressA, addressB]) ports.push(await open(address, { pool, promiscuous: true }));
  const [a, b] = ports as [NetDevice, NetDevice];
  const there = specialize(makeLoop, openCursor(a.rxQueues[0], b.txQueues[0]), pool, Number(portText));
  const back = specialize(makeLoop, openCursor(b.rxQueues[0], a.txQueues[0]), pool, Number(portText));
  await pollLoop(() => there() + back(), { signal: stop.signal, devices: ports });
  for (const port of ports) {
    const { rxPackets, txPackets } = port.stats();
    console.log(`${port.address}: received ${rxPackets}, sent ${txPackets}`);
  }
} finally {
  for (const port of ports) await port.close();
  pool.close();
}
