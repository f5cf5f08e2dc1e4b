/** Whatever an application and the hardware do in whatever order: every buffer is in exactly one place. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { LAYOUT } from '../../../src/driver/intel/descriptors.js';
import { CLOSED } from '../../support/closed.js';
import { QueueRig } from '../../support/queue-rig.js';
import { RX_ERROR_RXE } from '../../support/ring-device.js';
import { suite } from '../../support/suite.js';

const interleaving = suite('receive and transmit interleaved');

interface Model {
  readonly rig: QueueRig;
  /** Buffers of the application. */
  owned: number[];
  /** Buffers that `send` took, in order, without those it dropped. */
  readonly sent: number[];
  /** Frames that the application must still receive: their first two bytes. */
  readonly expected: number[];
  sequence: number;
}

type Step = (model: Model) => void;

const count = fc.integer({ min: 0, max: 70 });

const receive = count.map(
  (max): Step =>
    ({ rig, owned, expected }) => {
      const received = rig.rx.receive(rig.bufs, max);
      for (let i = 0; i < received; i++) {
        const buffer = rig.bufs[i]!;
        const bytes = rig.pool.bytes(buffer);
        assert.is((bytes[0]! << 8) | bytes[1]!, expected.shift(), 'the next frame that arrived');
        owned.push(buffer);
      }
    },
);

const allocate = count.map(
  (wanted): Step =>
    ({ rig, owned }) => {
      const got = rig.pool.allocate(rig.bufs, wanted);
      for (let i = 0; i < got; i++) {
        rig.pool.lengths[rig.bufs[i]!] = 60;
        owned.push(rig.bufs[i]!);
      }
    },
);

const release = count.map(
  (many): Step =>
    (model) => {
      const bufs = Uint32Array.from(model.owned.splice(0, many));
      model.rig.pool.release(bufs, bufs.length);
    },
);

const send = fc.tuple(count, fc.boolean()).map(
  ([many, oneIsBad]): Step =>
    (model) => {
      const { rig } = model;
      const bufs = Uint32Array.from(model.owned.slice(0, many));
      if (oneIsBad && bufs.length > 0) rig.pool.lengths[bufs[bufs.length >> 1]!] = 5;
      const taken = rig.tx.send(bufs, bufs.length);
      model.owned.splice(0, taken);
      for (const buffer of bufs.subarray(0, taken)) {
        if (rig.pool.lengths[buffer] !== 5) model.sent.push(buffer);
      }
      for (const buffer of model.owned) if (rig.pool.lengths[buffer] === 5) rig.pool.lengths[buffer] = 60;
    },
);

const arrive = fc.tuple(count, fc.constantFrom('good', 'damaged', 'long')).map(
  ([many, kind]): Step =>
    (model) => {
      const { rig, expected } = model;
      for (let i = 0; i < many; i++) {
        const number = model.sequence++ & 0xffff;
        const frame = Uint8Array.of(number >>> 8, number, ...new Uint8Array(58));
        const status =
          kind === 'good' ? 3 : kind === 'long' ? (i % 3 === 2 || i === many - 1 ? 3 : 1) : 3 | RX_ERROR_RXE;
        if (kind === 'long' && i === 0 && rig.rxDevice.available < many) return;
        // The last piece of a long frame is not one of its own: a lone last piece would be good.
        const lone = kind === 'long' && status === 3 && i % 3 === 0;
        if (rig.rxDevice.receive({ frame, status }) && (kind === 'good' || lone)) expected.push(number);
      }
    },
);

const reclaim = fc.constant<Step>(({ rig }) => rig.tx.reclaim());
const transmit = count.map(
  (many): Step =>
    ({ rig }) => {
      rig.txDevice.transmit(many);
    },
);

for (const [rxSize, txSize, buffers] of [
  [64, 64, 400],
  [64, 128, 100],
  [128, 64, 128],
] as const) {
  interleaving(`rings of ${rxSize} and ${txSize}, ${buffers} buffers`, () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(receive, send, allocate, release, arrive, reclaim, transmit), { maxLength: 60 }),
        (steps) => {
          const rig = new QueueRig({ rxSize, txSize, buffers });
          const model: Model = { rig, owned: [], sent: [], expected: [], sequence: 0 };
          try {
            for (const step of steps) {
              step(model);
              rig.checkOwnership(model.owned, model.sent);
            }
            rig.pool.release(Uint32Array.from(model.owned), model.owned.length);
            rig.rx.close(CLOSED);
            rig.tx.close(CLOSED);
            assert.is(new Set(rig.free()).size, buffers, 'all buffers are back');
            assert.is(rig.pool.available, buffers);
            assert.is(rig.tx.counters[LAYOUT.PACKETS], model.sent.length);
            assert.ok(rig.tx.counters[LAYOUT.ERRORS]! >= 0 && rig.rx.counters[LAYOUT.PACKETS]! >= 0);
          } finally {
            rig.close();
          }
        },
      ),
      { numRuns: 60 },
    );
  });
}

interleaving.run();
