/** Cursors over rings of Intel's advanced descriptors: what is unusual about their methods. */
import type { TxQueue } from '../device.js';
import { instantiate, STATE_LENGTH } from '../instantiate.js';
import { noPacketShown, type PacketCursor } from '../packet-cursor.js';
import { makeCursor } from './cursor-loop.js';
import { LAYOUT } from './descriptors.js';
import type { IntelRxQueue } from './rx-queue.js';
import { IntelTxQueue } from './tx-queue.js';

const { NEXT, CLEAN, ERRORS } = LAYOUT;
const NONE = new Uint32Array(0);

/** See `RxQueue.cursor`. */
export function cursorOver(rx: IntelRxQueue, tx: TxQueue): PacketCursor | undefined {
  if (!(tx instanceof IntelTxQueue)) return undefined;
  const { plainLoop: rxLoop } = rx;
  const { plainLoop: txLoop } = tx;
  if (rxLoop === undefined || txLoop === undefined) return undefined;
  const { lengths, freeLevel } = rxLoop;
  const { state, mask, minBytes, spanBytes, counters } = txLoop;

  function shownBy(method: string): number {
    const packet = rx.shown();
    return packet < 0 ? noPacketShown(method) : packet;
  }

  /** Whether a packet can be pushed; what the hardware was not told of yet may be what stands against it. */
  function makeRoom(): boolean {
    flush();
    // Takes buffers back; throws where the ring is closed or somebody else's.
    tx.send(NONE, 0);
    return ((state[CLEAN]! - state[NEXT]! - 1) & mask) !== 0 && freeLevel[0]! > 0;
  }

  const cursor: ReturnType<typeof makeCursor> = instantiate(makeCursor, LAYOUT, {
    rx: rxLoop,
    tx: txLoop,
    sums: new Int32Array(STATE_LENGTH),
    nextRest: () => rx.nextGood(),
    pushRest(): boolean {
      const length = lengths[shownBy('push')]!;
      if (length < minBytes || length - minBytes > spanBytes) {
        counters[ERRORS]! += 1;
        cursor.drop();
        return true;
      }
      return makeRoom() && cursor.push();
    },
    dropRest: () => void shownBy('drop'),
  });
  const one = new Uint32Array(1);
  const flush = tx.heard(cursor.flush);
  return {
    ...cursor,
    flush,
    take() {
      const packet = shownBy('take');
      const length = lengths[packet]!;
      if (freeLevel[0] === 0 && !makeRoom()) return false;
      if (rx.receive(one, 1) === 0) return false;
      // `receive` has set it to what arrived.
      lengths[packet] = length;
      return true;
    },
    close: () => void flush(),
  };
}
