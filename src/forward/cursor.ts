/** Cursors: received packets one at a time, for loops that applications write themselves. */
import type { RxQueue, TxQueue } from '../driver/device.js';
import { noPacketShown, type PacketCursor } from '../driver/packet-cursor.js';
import { checkSamePool } from './same-pool.js';

/** Packets that a cursor over `receive` and `send` holds in each direction at most. */
const HELD = 32;

/**
 * A cursor over a receive and a transmit queue of one pool, of whichever families. Where both are of one family that has it, it
 * works on the rings themselves: about as fast as `onPacket` where the loop is made by `specialize`.
 * @throws NicError `BAD_OPTION` where the pools differ
 * @example
 * function makeLoop({ next, push, drop, flush }: ReturnType<typeof openCursor>, pool: PacketPool) {
 *   const { frames, bufferShift } = pool;
 *   return function poll(): number {
 *     let count = 0;
 *     for (; count < 32; count++) {
 *       const packet = next();
 *       if (packet < 0) break;
 *       const isUdp = frames[(packet << bufferShift) + 23] === 17;
 *       if (!isUdp) drop();
 *       else if (!push()) break;
 *     }
 *     flush();
 *     return count;
 *   };
 * }
 * const poll = specialize(makeLoop, openCursor(a.rxQueues[0], b.txQueues[0]), a.pool);
 * await pollLoop(poll, { signal, devices: [a] });
 */
export function openCursor(rx: RxQueue, tx: TxQueue): PacketCursor {
  checkSamePool(rx, tx);
  return rx.cursor?.(tx) ?? generalCursor(rx, tx);
}

/** A cursor over `receive` and `send` of any two queues. */
function generalCursor(rx: RxQueue, tx: TxQueue): PacketCursor {
  const { pool } = rx;
  const arrived = new Uint32Array(HELD);
  const lengths = new Uint16Array(HELD);
  const leaving = new Uint32Array(HELD);
  let count = 0;
  let at = 0;
  let pushed = 0;

  function receive(): boolean {
    at = 0;
    count = 0;
    count = rx.receive(arrived);
    if (count === 0 && pool.available === 0) {
      // Nothing is received without a buffer, and nothing is sent, which would take those back that the hardware is done with.
      tx.reclaim();
      count = rx.receive(arrived);
    }
    for (let i = 0; i < count; i++) lengths[i] = pool.lengths[arrived[i]!]!;
    return count > 0;
  }

  function shownBy(method: string): number {
    return at < count ? arrived[at]! : noPacketShown(method);
  }

  function flush(): number {
    if (pushed === 0) return 0;
    const sent = tx.send(leaving, pushed);
    leaving.copyWithin(0, sent, pushed);
    pushed -= sent;
    return sent;
  }

  return {
    next() {
      if (at >= count && !receive()) return -1;
      const packet = arrived[at]!;
      pool.lengths[packet] = lengths[at]!;
      return packet;
    },
    push() {
      const packet = shownBy('push');
      if (pushed === HELD) flush();
      if (pushed === HELD) return false;
      leaving[pushed++] = packet;
      at++;
      return true;
    },
    drop() {
      shownBy('drop');
      pool.release(arrived, 1, at);
      at++;
    },
    take() {
      shownBy('take');
      at++;
      return true;
    },
    flush,
    close() {
      const waiting = count - at;
      const first = at;
      count = 0;
      at = 0;
      if (waiting > 0) pool.release(arrived, waiting, first);
      const unsent = pushed;
      pushed = 0;
      if (unsent > 0) pool.release(leaving, unsent);
    },
  };
}
