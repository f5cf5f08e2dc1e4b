/** Receive Side Scaling: flows spread over two queues, each where the hash says, and both queues carry traffic. */
import * as assert from 'uvu/assert';
import { open } from '../../../src/driver/registry.js';
import { bindDriver, nicAddresses } from '../guest.js';
import { PacketSocket } from '../packet-socket.js';
import { waitFor } from '../processes.js';
import { suite } from '../suite.js';
import {
  addNamespaces,
  assertBalanced,
  assertPings,
  assertTcp,
  finalTotals,
  iperf,
  note,
  startTraffic,
} from '../wire.js';

const rss = suite('two queue pairs');
const addresses = nicAddresses() as [string, string];
const FLOWS = 64;
const FRAMES_A_FLOW = 4;
/** Frames of a test's flow have its number here, behind the TCP header. */
const FLOW_OFFSET = 56;

/** Key of Microsoft's RSS verification suite ("Verifying the RSS Hash Calculation"). */
const KEY = Buffer.from(
  '6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa',
  'hex',
);

/** The Toeplitz hash of that suite, bit by bit: a window of 32 key bits slides along the input. */
function toeplitz(input: Buffer): number {
  const key = BigInt(`0x${KEY.toString('hex')}`);
  let hash = 0n;
  for (let bit = 0; bit < input.length * 8; bit++) {
    const isSet = (input[bit >> 3]! >> (7 - (bit & 7))) & 1;
    if (isSet) hash ^= (key >> BigInt(KEY.length * 8 - 32 - bit)) & 0xffffffffn;
  }
  return Number(hash);
}

/** A TCP segment of flow n, and the queue it belongs to: 128 table entries name the two queues in turn. */
function flow(n: number): { frame: Buffer; queue: number } {
  const frame = Buffer.alloc(64);
  frame.write('020000000b02020000000a010800', 0, 'hex');
  frame.write('450000320000400040060000', 14, 'hex');
  frame.writeUInt32BE(0x0a010000 + n * 7, 26);
  frame.writeUInt32BE(0x0a020001, 30);
  frame.writeUInt16BE(1024 + n * 13, 34);
  frame.writeUInt16BE(80, 36);
  frame.writeUInt8(0x50, 46);
  frame.writeUInt32BE(n, 56);
  frame.write('FLOW', 60);
  return { frame, queue: (toeplitz(frame.subarray(26, 38)) % 128) % 2 };
}

rss.before(() => {
  addNamespaces();
  for (const address of addresses) bindDriver(address, 'vfio-pci');
});

rss('the hash of the published suite is right', () => {
  // 66.9.149.187:2794 to 161.142.100.80:1766.
  assert.is(toeplitz(Buffer.from('420995bba18e64500aea06e6', 'hex')), 0x51ccc178);
});

rss('each flow goes to the queue of its hash, and to no other', async () => {
  const nic = await open(addresses[0], { queuePairs: 2, promiscuous: true });
  const peer = new PacketSocket('k0', 'A');
  try {
    await nic.waitForLink({ timeoutMs: 90_000 });
    const flows = Array.from({ length: FLOWS }, (_, n) => flow(n));
    const seen = flows.map(() => [0, 0]);
    const bufs = new Uint32Array(64);
    let received = 0;
    const drain = () => {
      for (const [q, queue] of nic.rxQueues.entries()) {
        const count = queue.receive(bufs);
        for (const buf of bufs.subarray(0, count)) {
          const frame = Buffer.from(nic.pool.bytes(buf).subarray(0, nic.pool.lengths[buf]));
          if (frame.toString('latin1', 60, 64) !== 'FLOW') continue;
          seen[frame.readUInt32BE(FLOW_OFFSET)]![q]! += 1;
          received++;
        }
        nic.pool.release(bufs, count);
      }
      return received;
    };
    for (let i = 1; i <= FRAMES_A_FLOW; i++) {
      for (const { frame } of flows) peer.send(frame);
      await waitFor('the frames', () => drain() === i * FLOWS);
    }
    const expected = flows.map(({ queue }) => (queue === 0 ? [FRAMES_A_FLOW, 0] : [0, FRAMES_A_FLOW]));
    assert.equal(seen, expected);
    const onFirst = flows.filter(({ queue }) => queue === 0).length;
    assert.ok(onFirst > FLOWS / 4 && onFirst < (FLOWS * 3) / 4, `${onFirst} of ${FLOWS} flows`);
    note(`RSS: ${onFirst} flows on queue 0, ${FLOWS - onFirst} on queue 1`);
  } finally {
    peer.close();
    await nic.close();
  }
});

for (const backend of ['group', 'cdev']) {
  rss(`fwd --queues 2 carries ping and many TCP connections (${backend})`, async () => {
    const command = await startTraffic(['fwd', ...addresses, '--queues', '2'], {
      env: { BAREWIRE_VFIO: backend },
    });
    assertPings(50);
    const mbitPerS = await iperf(3, '-P', '8');
    assert.ok(mbitPerS > 0);
    await assertTcp('B', 4 * 2 ** 20);
    const outcome = await command.stop();
    assert.is(outcome.status, 0, outcome.stderr);
    assertBalanced(finalTotals(outcome));
    note(`fwd --queues 2, ${backend}: iperf3 with 8 connections ${mbitPerS} Mbit/s`);
  });
}

rss.run();
