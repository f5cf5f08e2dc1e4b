/**
 * The methods of a cursor over a receive and a transmit ring: see `packet-cursor.ts`. A factory for `instantiate`: it uses
 * nothing of its module but types. All of a cursor's state that others read is in memory after each call, so `receive`, `send`
 * and forwarders may be used in between.
 *
 * The packet that is shown stays in its slot. `push` sends its buffer and gives the slot a free one; `drop` leaves it its own.
 */
import type { PacketCursor } from '../packet-cursor.js';
import type { Layout } from './descriptors.js';
import type { RxLoop } from './rx-loop.js';
import type { TxLoop } from './tx-loop.js';

export interface CursorLoop {
  readonly rx: RxLoop;
  readonly tx: TxLoop;
  /** What was moved and is not yet counted: elements of the cursor's own. */
  readonly sums: Int32Array;
  /** Goes on where the next slot holds no good frame. */
  readonly nextRest: () => number;
  /** Goes on where there is no packet to push, no room for it, or one that no hardware can send. */
  readonly pushRest: () => boolean;
  /** There is no packet to drop: throws. */
  readonly dropRest: () => void;
}

export function makeCursor(
  layout: Layout,
  loop: CursorLoop,
): Pick<PacketCursor, 'next' | 'push' | 'drop' | 'flush'> {
  // `var`: at every use of an outer function's `const` the engine checks that it has a value.
  var { rx, tx, sums, nextRest, pushRest, dropRest } = loop;
  var { ring: rxRing, tail: rxTail, slots: rxSlots, state: rxState, counters: rxCounters } = rx;
  var { ring: txRing, tail: txTail, slots: txSlots, state: txState, counters: txCounters } = tx;
  var { free, freeLevel, lengths, mask: rxMask, shift, iovaLow, iovaHigh, testMask, maxBytes } = rx;
  var { mask: txMask, minBytes, spanBytes, commands, reclaim } = tx;
  var { NEXT, CLEAN, REPORT, GONE, GOOD, DONE, PACKETS, BYTES, WORD_SHIFT, LENGTH_MASK } = layout;
  var { RX_STATUS, RX_LENGTH, DD, TX_COMMAND, TX_STATUS, PAYLEN_SHIFT } = layout;
  /** Elements of `sums`. */
  var SENT = 0;
  var DROPPED = 1;
  var SENT_BYTES = 2;
  var RECEIVED_BYTES = 3;

  // Bytecode, counted by a test: an application's loop with all four and some work of its own is to stay below the 920 up to which
  // the engine inlines.
  function next(): number {
    const slot = rxState[NEXT]!;
    const word = slot << WORD_SHIFT;
    // The hardware sets DD last, and x86 keeps the order of these two loads.
    const status = rxRing[word + RX_STATUS]!;
    const length = rxRing[word + RX_LENGTH]! & LENGTH_MASK;
    if ((status & testMask) !== rxState[GOOD] || (length - 1) >>> 0 >= maxBytes) {
      return (status & DD) === 0 ? -1 : nextRest();
    }
    const packet = rxSlots[slot]!;
    lengths[packet] = length;
    return packet;
  }

  function push(): boolean {
    const words = rxRing;
    const place = rxState;
    const out = txState;
    const slot = place[NEXT]!;
    const word = slot << WORD_SHIFT;
    const packet = rxSlots[slot]!;
    const length = lengths[packet]!;
    const txSlot = out[NEXT]!;
    const freeCount = (freeLevel[0]! - 1) | 0;
    if (
      (words[word + RX_STATUS]! & testMask) !== place[GOOD] ||
      (length - minBytes) >>> 0 > spanBytes ||
      ((out[CLEAN]! - txSlot - 1) & txMask) === 0 ||
      freeCount < 0
    ) {
      return pushRest();
    }
    const fresh = free[freeCount]!;
    const counts = sums;
    freeLevel[0] = freeCount;
    counts[RECEIVED_BYTES]! += words[word + RX_LENGTH]! & LENGTH_MASK;
    rxSlots[slot] = fresh;
    words[word] = (iovaLow + (fresh << shift)) | 0;
    words[word + 1] = iovaHigh;
    words[word + RX_STATUS] = 0;
    place[NEXT] = (slot + 1) & rxMask;
    const ring = txRing;
    const txWord = txSlot << WORD_SHIFT;
    txSlots[txSlot] = packet;
    ring[txWord] = (iovaLow + (packet << shift)) | 0;
    ring[txWord + TX_COMMAND] = commands[txSlot]! | length;
    ring[txWord + TX_STATUS] = length << PAYLEN_SHIFT;
    out[NEXT] = (txSlot + 1) & txMask;
    counts[SENT]! += 1;
    counts[SENT_BYTES]! += length;
    return true;
  }

  function drop(): void {
    const words = rxRing;
    const place = rxState;
    const slot = place[NEXT]!;
    const word = slot << WORD_SHIFT;
    if ((words[word + RX_STATUS]! & testMask) !== place[GOOD]) {
      dropRest();
      return;
    }
    const counts = sums;
    counts[DROPPED]! += 1;
    counts[RECEIVED_BYTES]! += words[word + RX_LENGTH]! & LENGTH_MASK;
    words[word] = (iovaLow + (rxSlots[slot]! << shift)) | 0;
    words[word + 1] = iovaHigh;
    words[word + RX_STATUS] = 0;
    place[NEXT] = (slot + 1) & rxMask;
  }

  function flush(): number {
    const counts = sums;
    const out = txState;
    const sent = counts[SENT]!;
    const received = sent + counts[DROPPED]!;
    if (received > 0) {
      // A ring that was closed, or left to somebody else, has no such place.
      if (rxState[GOOD] === DONE) rxTail[0] = (rxState[NEXT]! - 1) & rxMask;
      rxCounters[PACKETS]! += received;
      rxCounters[BYTES]! += counts[RECEIVED_BYTES]!;
      if (sent > 0) {
        if (out[GONE] === 0) txTail[0] = out[NEXT]!;
        txCounters[PACKETS]! += sent;
        txCounters[BYTES]! += counts[SENT_BYTES]!;
      }
      counts[SENT] = 0;
      counts[DROPPED] = 0;
      counts[SENT_BYTES] = 0;
      counts[RECEIVED_BYTES] = 0;
    }
    if ((txRing[out[REPORT]!]! & DD) !== 0 && out[GONE] === 0) reclaim();
    return sent;
  }

  return { next, push, drop, flush };
}
