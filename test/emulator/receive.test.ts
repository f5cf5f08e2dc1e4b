/** Receive path: descriptors, filters, buffers, drops (82599 datasheet 7.1). */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { BROADCAST, frame, packet, R, rx, TestNic } from './support.js';

const DD = 1;
const EOP = 2;

const receive = suite('receive');

receive('stores a frame and writes the descriptor back', () => {
  const nic = new TestNic().setUpRx();
  const bytes = frame(nic.model.mac, 60);
  assert.ok(nic.arrive(bytes));
  const words = nic.rxWords(0);
  assert.is(words[2]! & 3, DD | EOP);
  assert.is(words[3]! & 0xffff, 60);
  assert.equal(nic.rxBuffer(0, 60), bytes);
  assert.is(nic.read(rx(0, 'RDH')), 1);
  assert.equal(nic.violations, []);
});

receive('wraps around the ring and gives every frame once', () => {
  const nic = new TestNic().setUpRx({ count: 8 });
  for (let i = 0; i < 50; i++) {
    const bytes = frame(nic.model.mac, 60 + i);
    assert.ok(nic.arrive(bytes));
    assert.equal(nic.receive()?.bytes, bytes);
    assert.is(nic.receive(), undefined);
  }
});

receive('spreads a long frame over several buffers with EOP on the last', () => {
  const nic = new TestNic().setUpRx({ bufferKib: 1, count: 16 });
  nic.write(R.HLREG0, nic.read(R.HLREG0) | 4);
  nic.write(R.MAXFRS, 9018 << 16);
  const bytes = frame(nic.model.mac, 2500);
  assert.ok(nic.arrive(bytes));
  assert.is(nic.rxWords(0)[2]! & 3, DD);
  assert.is(nic.rxWords(1)[2]! & 3, DD);
  assert.is(nic.rxWords(2)[2]! & 3, DD | EOP);
  assert.is(nic.rxWords(2)[3]! & 0xffff, 2500 - 2048);
  assert.equal(nic.receive()?.bytes, bytes);
});

receive('legacy descriptors keep the address and have length before status', () => {
  const nic = new TestNic().setUpRx({ legacy: true });
  const before = nic.rxWords(0);
  nic.arrive(packet(nic.model.mac));
  const words = nic.rxWords(0);
  assert.is(words[0], before[0]);
  assert.is(words[2]! & 0xffff, 60);
  // DD, EOP, IPCS (6), L4CS (5), no errors
  assert.is(words[3], 0x63);
});

receive('drops when no descriptor is left and Drop_En is set; QPRDC counts', () => {
  const nic = new TestNic().setUpRx({ count: 8, drop: true });
  for (let i = 0; i < 7; i++) assert.ok(nic.arrive(frame(nic.model.mac)));
  assert.not(nic.arrive(frame(nic.model.mac)));
  assert.is(nic.read(0x1430), 1);
  assert.is(nic.read(0x1430), 0);
});

receive('keeps frames in the packet buffer without Drop_En until descriptors come', () => {
  const nic = new TestNic().setUpRx({ count: 8 });
  const frames = Array.from({ length: 20 }, (_, i) => frame(nic.model.mac, 60 + i));
  for (const bytes of frames) assert.ok(nic.arrive(bytes));
  for (const bytes of frames) {
    nic.model.poll(1);
    assert.equal(nic.receive()?.bytes, bytes);
  }
});

receive('a full packet buffer counts in MPC and raises RX_MISS', () => {
  const nic = new TestNic().setUpRx({ count: 8 });
  nic.write(0x3c00, 4 << 10); // RXPBSIZE(0): 4 KiB
  let lost = 0;
  for (let i = 0; i < 20; i++) if (!nic.arrive(frame(nic.model.mac, 1000))) lost++;
  assert.is(lost, 20 - 7 - 4);
  assert.is(nic.read(0x3fa0), lost);
  assert.is(nic.read(R.EICR) & (1 << 17), 1 << 17);
});

receive('nothing arrives before RXEN, or in a queue that is off', () => {
  const nic = new TestNic().setUpRx();
  nic.write(R.RXCTRL, 0);
  nic.arrive(frame(nic.model.mac));
  nic.write(R.RXCTRL, 1);
  nic.write(rx(0, 'RXDCTL'), 0);
  nic.arrive(frame(nic.model.mac));
  assert.is(nic.rxWords(0)[2], 0);
});

receive('takes its own address, broadcast only with BAM, others only when promiscuous', () => {
  const nic = new TestNic().setUpRx({ count: 64 });
  const stranger = Uint8Array.of(2, 1, 2, 3, 4, 5);
  nic.arrive(frame(stranger));
  nic.arrive(frame(BROADCAST));
  assert.is(nic.read(rx(0, 'RDH')), 0);
  nic.write(R.FCTRL, 1 << 10);
  nic.arrive(frame(BROADCAST));
  assert.is(nic.read(rx(0, 'RDH')), 1);
  nic.write(R.FCTRL, 1 << 9);
  nic.arrive(frame(stranger));
  assert.is(nic.read(rx(0, 'RDH')), 2);
});

receive.run();
