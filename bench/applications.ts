/**
 * What applications write that are measured: loops over `receive` and `send`, and a look at three fields of each packet.
 * Factories for `instantiate`: they use nothing of this module but types.
 */
import type { RxQueue, TxQueue } from '../src/driver/device.js';
import type { PacketCursor } from '../src/driver/packet-cursor.js';
import type { PacketHook } from '../src/driver/queue-link.js';
import type { PacketPool } from '../src/hugepage/packet-pool.js';

/** What no frame of the device's has, so all are forwarded, and all three fields are read: as in native/lockstep.h. */
export const BLOCKED = Object.freeze({ TYPE: 0x0800, ADDRESS: 0xc6130001 | 0, PORT: 53 });

/** An `onPacket` that reads EtherType, IPv4 destination and UDP port, and drops what is blocked. */
export function makeLook(pool: PacketPool): PacketHook {
  const { frames, bufferShift } = pool;
  const view = new DataView(frames.buffer, frames.byteOffset, frames.byteLength);
  const { TYPE, ADDRESS, PORT } = BLOCKED;
  return function onPacket(packet: number, lengthBytes: number): number {
    const at = packet << bufferShift;
    const differs =
      (view.getUint16(at + 12) ^ TYPE) |
      (view.getInt32(at + 30) ^ ADDRESS) |
      (view.getUint16(at + 36) ^ PORT);
    return differs === 0 ? 0 : lengthBytes;
  };
}

/** What an application writes that looks at packets: receive, touch, send. */
export function makeApplication(
  _layout: null,
  rx: RxQueue,
  tx: TxQueue,
  pool: PacketPool,
  bufs: Uint32Array,
): () => number {
  return function poll(): number {
    const { frames, bufferShift } = pool;
    const received = rx.receive(bufs);
    for (let i = 0; i < received; i++) {
      const start = bufs[i]! << bufferShift;
      frames[start] = frames[start]!;
    }
    const sent = tx.send(bufs, received);
    if (sent < received) pool.release(bufs, received - sent, sent);
    return received;
  };
}

/** The same with the look, which keeps what is to be sent. */
export function makeLookingApplication(
  blocked: typeof BLOCKED,
  rx: RxQueue,
  tx: TxQueue,
  pool: PacketPool,
  bufs: Uint32Array,
): () => number {
  const { TYPE, ADDRESS, PORT } = blocked;
  const { frames, bufferShift } = pool;
  const view = new DataView(frames.buffer, frames.byteOffset, frames.byteLength);
  return function poll(): number {
    const received = rx.receive(bufs);
    let kept = 0;
    for (let i = 0; i < received; i++) {
      const at = bufs[i]! << bufferShift;
      const differs =
        (view.getUint16(at + 12) ^ TYPE) |
        (view.getInt32(at + 30) ^ ADDRESS) |
        (view.getUint16(at + 36) ^ PORT);
      if (differs === 0) pool.release(bufs, 1, i);
      else bufs[kept++] = bufs[i]!;
    }
    const sent = tx.send(bufs, kept);
    if (sent < kept) pool.release(bufs, kept - sent, sent);
    return received;
  };
}

/** Touch by a cursor: packets one at a time, a batch at a time. */
export function makeCursorApplication(cursor: PacketCursor, pool: PacketPool, batch: number): () => number {
  const { next, push, flush } = cursor;
  const { frames, bufferShift } = pool;
  return function poll(): number {
    let count = 0;
    for (; count < batch; count++) {
      const packet = next();
      if (packet < 0) break;
      const start = packet << bufferShift;
      frames[start] = frames[start]!;
      if (!push()) break;
    }
    flush();
    return count;
  };
}

/** The same with the look. */
export function makeLookingCursorApplication(
  cursor: PacketCursor,
  pool: PacketPool,
  batch: number,
  blocked: typeof BLOCKED,
): () => number {
  const { TYPE, ADDRESS, PORT } = blocked;
  const { next, push, drop, flush } = cursor;
  const { frames, bufferShift } = pool;
  const view = new DataView(frames.buffer, frames.byteOffset, frames.byteLength);
  return function poll(): number {
    let count = 0;
    for (; count < batch; count++) {
      const packet = next();
      if (packet < 0) break;
      const at = packet << bufferShift;
      const differs =
        (view.getUint16(at + 12) ^ TYPE) |
        (view.getInt32(at + 30) ^ ADDRESS) |
        (view.getUint16(at + 36) ^ PORT);
      if (differs === 0) drop();
      else if (!push()) break;
    }
    flush();
    return count;
  };
}
