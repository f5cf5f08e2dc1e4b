/**
 * A service with `for await`: sends every frame back where it came from, until Ctrl-C. Sleeps while nothing comes.
 *
 *     node dist/examples/service.js 0000:03:00.0
 */
import { batches, open } from 'barewire';

const [address] = process.argv.slice(2);
if (address === undefined) {
  console.error('usage: service.js PORT');
  process.exit(2);
}

const stop = new AbortController();
process.once('SIGINT', () => stop.abort());

const nic = await open(address);
try {
  const [tx] = nic.txQueues;
  // One object and one array serve all batches; they are of use until the next one.
  for await (const { packets, count } of batches(nic.rxQueues[0], { signal: stop.signal })) {
    for (let i = 0; i < count; i++) {
      const frame = nic.pool.bytes(packets[i]!);
      frame.copyWithin(0, 6, 12); // to whom it came from
      frame.set(nic.mac, 6);
    }
    const sent = tx.send(packets, count);
    nic.pool.release(packets, count - sent, sent); // no room in the ring
  }
} finally {
  await nic.close();
}
