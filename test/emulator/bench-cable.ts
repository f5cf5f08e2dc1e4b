/** Not a test: `node dist/test/emulator/bench-cable.js` prints CPU nanoseconds a frame over a cable between two models. */
import { connect } from '../../src/emulator/link.js';
import { DATA, EOP, frame, IFCS, MEMORY_IOVA, packet, RS, RX_RING, TestNic, TX_RING } from './support.js';

function run(label: string, bytes: Uint8Array, rounds: number): void {
  const COUNT = 256;
  const a = new TestNic().setUpTx({ count: COUNT });
  const b = new TestNic({ mac: Uint8Array.of(2, 0, 0, 0, 0, 1) });
  b.rxBufferBytes = 2048;
  b.setUpRx({ count: COUNT, drop: true });
  b.promiscuous();
  connect(a.model, b.model);
  const iova = a.putBuffer(0, bytes);
  for (let i = 0; i < COUNT; i++) {
    a.setWords(TX_RING + i * 16, [
      iova,
      0,
      bytes.length | DATA | EOP | IFCS | (i % 32 === 31 ? RS : 0),
      bytes.length << 14,
    ]);
  }
  let tail = 0;
  let rtail = COUNT - 1;
  const burst = (): void => {
    tail = (tail + 64) % COUNT;
    a.write(0x6018, tail);
    a.model.poll(64);
    b.model.poll(64);
    for (let i = 0; i < 64; i++) {
      const next = (rtail + 1) % COUNT;
      const at = RX_RING / 4 + next * 4;
      b.memory.words[at] = MEMORY_IOVA + 0x40000 + (next % 256) * 2048;
      b.memory.words[at + 1] = 0;
      b.memory.words[at + 2] = 0;
      b.memory.words[at + 3] = 0;
      rtail = next;
    }
    b.write(0x1018, rtail);
  };
  for (let i = 0; i < 2000; i++) burst();
  const start = process.cpuUsage();
  for (let i = 0; i < rounds; i++) burst();
  const used = process.cpuUsage(start);
  const ns = ((used.user + used.system) * 1e3) / (rounds * 64);
  console.log(`${label}: ${ns.toFixed(0)} ns a frame, sent and received (with refilling the ring)`);
  if (b.read(0x1430) !== 0) console.log('  drops!');
}

const mac = Uint8Array.of(2, 0, 0, 0, 0, 1);
run('64 octets, no IP', frame(mac, 60), 20000);
run('64 octets, UDP', packet(mac), 20000);
run('512 octets, UDP', packet(mac, { payload: new Uint8Array(466) }), 20000);
run('1518 octets, UDP', packet(mac, { payload: new Uint8Array(1472) }), 20000);
