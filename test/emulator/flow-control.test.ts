/** Pause frames (82599 datasheet 3.7.7, 8.2.3.3, 8.2.3.22.34; IEEE 802.3 annex 31B), in time that the test moves. */
import * as assert from 'uvu/assert';
import { ManualClock } from '../../src/clock.js';
import { type Connection, connect } from '../../src/emulator/link.js';
import { suite } from '../support/suite.js';
import { BROADCAST, concat, frame, PEER_MAC, Recorder, rx, TestNic, TX_RING, tx } from './support.js';

const MFLCN = 0x04294; // 8.2.3.22.34
const DPF = 1 << 1;
const RFCE = 1 << 3;
const FCCFG = 0x03d00; // 8.2.3.3.7
const TFCE_LINK = 1 << 3;
const FCTTV0 = 0x03200; // 8.2.3.3.2
const FCRTL0 = 0x03220; // 8.2.3.3.3
const XONE = 1 << 31;
const FCRTH0 = 0x03260; // 8.2.3.3.4
const FCEN = 1 << 31;
const FCRTV = 0x032a0; // 8.2.3.3.5
const TFCS = 0x0ce00; // 8.2.3.3.6
// 8.2.3.23
const LXONTXC = 0x03f60;
const LXOFFTXC = 0x03f68;
const LXONRXCNT = 0x041a4;
const LXOFFRXCNT = 0x041a8;
const GPRC = 0x04074;
const GPTC = 0x04080;
const MPTC = 0x040f0;
const GOTCL = 0x04090;
const PTC64 = 0x040d8;
const MPC0 = 0x03fa0;

const QUANTUM_NS = 51.2;
const PAUSE_GROUP = Uint8Array.of(0x01, 0x80, 0xc2, 0, 0, 1);

function pauseFrame(quanta: number, destination: Uint8Array = PAUSE_GROUP, opcode = 1): Uint8Array {
  const fields = Uint8Array.of(0x88, 0x08, 0, opcode, quanta >>> 8, quanta & 0xff);
  return concat([destination, PEER_MAC, fields, new Uint8Array(42)]);
}

function sender(): { nic: TestNic; clock: ManualClock; wire: Recorder; link: Connection } {
  const clock = new ManualClock();
  clock.advanceNs(1);
  const nic = new TestNic({ clock }).setUpRx({ count: 64 }).setUpTx({ count: 64 });
  const wire = new Recorder();
  const link = connect(nic.model, wire);
  return { nic, clock, wire, link };
}

const received = suite('received pause frames');

received('stop the transmitter for their quanta, and are counted', () => {
  const { nic, clock, wire } = sender();
  nic.write(MFLCN, RFCE);
  nic.arrive(pauseFrame(100));
  assert.is(nic.read(TFCS), 1, 'TFCS.TXOFF');
  nic.send(frame(BROADCAST));
  clock.advanceNs(100 * QUANTUM_NS - 1);
  nic.model.poll(64);
  assert.is(wire.frames.length, 0);
  clock.advanceNs(1);
  nic.model.poll(64);
  assert.is(wire.frames.length, 1);
  assert.is(nic.read(TFCS), 0);
  assert.is(nic.read(LXOFFRXCNT), 1);
  assert.is(nic.read(LXONRXCNT), 0);
});

received('with 0 quanta let it go on at once', () => {
  const { nic, wire } = sender();
  nic.write(MFLCN, RFCE);
  nic.arrive(pauseFrame(0xffff));
  nic.send(frame(BROADCAST));
  assert.is(wire.frames.length, 0);
  nic.arrive(pauseFrame(0));
  nic.model.poll(64);
  assert.is(wire.frames.length, 1);
  assert.is(nic.read(LXONRXCNT), 1);
});

received('go no further: no good frame is counted, none delivered', () => {
  const { nic } = sender();
  nic.write(MFLCN, RFCE);
  nic.promiscuous();
  nic.arrive(pauseFrame(3));
  assert.is(nic.receive(), undefined);
  assert.is(nic.read(GPRC), 0);
});

received('to the station itself are received as well, unless MFLCN.DPF is set', () => {
  const { nic } = sender();
  nic.write(MFLCN, RFCE);
  const mine = pauseFrame(3, nic.model.mac);
  nic.arrive(mine);
  assert.equal(nic.receive()?.bytes, mine);
  nic.write(MFLCN, RFCE | DPF);
  nic.arrive(mine);
  assert.is(nic.receive(), undefined);
  assert.is(nic.read(LXOFFRXCNT), 2);
});

received('mean nothing while MFLCN.RFCE is off, and are frames like others', () => {
  const { nic, wire } = sender();
  nic.promiscuous();
  nic.arrive(pauseFrame(0xffff));
  nic.send(frame(BROADCAST));
  assert.is(wire.frames.length, 1);
  assert.equal(nic.receive()?.bytes, pauseFrame(0xffff));
  assert.is(nic.read(LXOFFRXCNT), 0);
});

received('of another opcode, to another station, or too short are none', () => {
  const { nic, wire } = sender();
  nic.write(MFLCN, RFCE);
  nic.arrive(pauseFrame(0xffff, PAUSE_GROUP, 2));
  nic.arrive(pauseFrame(0xffff, Uint8Array.of(2, 0, 0, 0, 0, 0x77)));
  nic.arrive(pauseFrame(0xffff).slice(0, 40));
  nic.send(frame(BROADCAST));
  assert.is(wire.frames.length, 1);
});

received('end with the link, with RFCE, and with a reset', () => {
  for (const end of [
    ({ link }: ReturnType<typeof sender>) => {
      link.setCarrier(false);
      link.setCarrier(true);
    },
    ({ nic }: ReturnType<typeof sender>) => nic.write(MFLCN, 0),
    ({ nic }: ReturnType<typeof sender>) => {
      nic.write(0, 1 << 26);
      nic.txNext = 0;
      nic.setUpTx({ count: 64 });
    },
  ]) {
    const rig = sender();
    rig.nic.write(MFLCN, RFCE);
    rig.nic.arrive(pauseFrame(0xffff));
    end(rig);
    rig.nic.send(frame(BROADCAST));
    assert.is(rig.wire.frames.length, 1);
  }
});

received.run();

const sent = suite('sent pause frames');

/** A receiver whose ring is full, so that frames wait in its packet buffer; watermarks at 1 KiB and 512 bytes. */
function receiver(): { nic: TestNic; clock: ManualClock; wire: Recorder } {
  const clock = new ManualClock();
  clock.advanceNs(1);
  const nic = new TestNic({ clock }).setUpRx({ count: 8, give: 0 }).promiscuous();
  const wire = new Recorder();
  connect(nic.model, wire);
  nic.write(FCTTV0, 0x1234);
  nic.write(FCRTV, 0x1000);
  nic.write(FCRTL0, 512 | XONE);
  nic.write(FCRTH0, 1024 | FCEN);
  nic.write(FCCFG, TFCE_LINK);
  return { nic, clock, wire };
}

const fill = (nic: TestNic, frames: number): void => {
  for (let i = 0; i < frames; i++) nic.arrive(frame(BROADCAST, 256));
};

sent('say stop above the high watermark, and go on at the low one', () => {
  const { nic, wire } = receiver();
  fill(nic, 4);
  assert.is(wire.frames.length, 0, '1024 bytes are not above 1024');
  fill(nic, 1);
  const mac = nic.model.mac;
  assert.equal(wire.frames, [concat([PAUSE_GROUP, mac, pauseFrame(0x1234).slice(12)])]);
  fill(nic, 1);
  assert.is(wire.frames.length, 1, 'said once');
  nic.write(rx(0, 'RDT'), 2); // two of six are taken
  nic.model.poll(1);
  assert.is(wire.frames.length, 1);
  nic.write(rx(0, 'RDT'), 4); // four of six: 512 bytes stay
  nic.model.poll(1);
  assert.equal(wire.frames[1], concat([PAUSE_GROUP, mac, pauseFrame(0).slice(12)]));
  assert.is(nic.read(LXOFFTXC), 1);
  assert.is(nic.read(LXONTXC), 1);
});

sent('count as frames sent, from which drivers subtract them', () => {
  const { nic } = receiver();
  fill(nic, 5);
  assert.equal(
    [GPTC, MPTC, PTC64, GOTCL].map((register) => nic.read(register)),
    [1, 1, 1, 64],
  );
});

sent('say stop again when no more than FCRTV of the time is left', () => {
  const { nic, clock, wire } = receiver();
  fill(nic, 5);
  clock.advanceNs(0x234 * QUANTUM_NS - 1);
  nic.model.poll(1);
  assert.is(wire.frames.length, 1);
  clock.advanceNs(1);
  nic.model.poll(1);
  assert.is(wire.frames.length, 2);
  assert.is(nic.read(LXOFFTXC), 2);
});

sent('without FCRTL.XONE nothing tells the other end to go on', () => {
  const { nic, wire } = receiver();
  nic.write(FCRTL0, 512);
  fill(nic, 5);
  nic.write(rx(0, 'RDT'), 7);
  nic.model.poll(1);
  assert.is(wire.frames.length, 1);
});

sent('are not without FCCFG.TFCE or FCRTH.FCEN', () => {
  for (const [register, value] of [
    [FCCFG, 0],
    [FCRTH0, 1024],
  ] as const) {
    const { nic, wire } = receiver();
    nic.write(register, value);
    fill(nic, 12);
    assert.is(wire.frames.length, 0);
  }
});

sent('between two models nothing is lost, however slow the receiver is', () => {
  const clock = new ManualClock();
  clock.advanceNs(1);
  const a = new TestNic({ clock }).setUpRx().setUpTx({ count: 128 });
  const b = new TestNic({ clock }).setUpRx({ count: 8, give: 0 }).promiscuous();
  connect(a.model, b.model);
  a.write(MFLCN, RFCE);
  b.write(0x03c00, 8 << 10); // RXPBSIZE(0): 8 KiB
  b.write(FCTTV0, 0xffff);
  b.write(FCRTL0, 1024 | XONE);
  b.write(FCRTH0, 4096 | FCEN);
  b.write(FCCFG, TFCE_LINK);
  const bytes = frame(BROADCAST, 512);
  for (let i = 0; i < 100; i++) {
    const iova = a.putBuffer(0, bytes);
    a.setWords(TX_RING + i * 16, [iova, 0, 512 | (1 << 29) | (3 << 20) | (3 << 24), 512 << 14]);
  }
  a.write(tx(0, 'TDT'), 100);
  let got = 0;
  for (let round = 0; round < 400 && got < 100; round++) {
    a.model.poll(64);
    b.model.poll(64);
    while (b.receive() !== undefined) got++;
    if (round === 0) b.write(rx(0, 'RDT'), 7);
  }
  assert.is(got, 100);
  assert.is(b.read(MPC0), 0);
  assert.ok(b.read(LXOFFTXC) > 0);
  assert.ok(a.read(LXOFFRXCNT) > 0);
});

sent.run();
