/** What tests of virtio-net on the card of this folder share. */
import * as assert from 'uvu/assert';
import type { NetDevice, OpenOptions, TxQueue } from '../../../src/driver/device.js';
import { openOn } from '../../../src/driver/registry.js';
import { onHugepageWarning } from '../../../src/hugepage/dma-region.js';
import type { PacketPool } from '../../../src/hugepage/packet-pool.js';
import { ALL_FEATURES, type CardOptions, VirtioCard } from './card.js';

onHugepageWarning(() => {});

/** All features but these. */
export const without = (...bits: number[]): number[] => ALL_FEATURES.filter((bit) => !bits.includes(bit));

/** Opens a card with the rings that its features end with: packed ones where it has them. */
export async function openCard(card: VirtioCard, options: OpenOptions): Promise<NetDevice> {
  const { BAREWIRE_VIRTIO_RINGS: before } = process.env;
  process.env.BAREWIRE_VIRTIO_RINGS = 'packed';
  try {
    return await openOn(card, options);
  } finally {
    if (before === undefined) delete process.env.BAREWIRE_VIRTIO_RINGS;
    else process.env.BAREWIRE_VIRTIO_RINGS = before;
  }
}

/** Runs a test on an open device with small rings; then wants everything back, and no complaint of the card's. */
export async function withCard(
  cardOptions: CardOptions,
  options: OpenOptions,
  test: (card: VirtioCard, nic: NetDevice) => Promise<void> | void,
): Promise<void> {
  const card = new VirtioCard(cardOptions);
  const nic = await openCard(card, { pageSize: '4K', rxRingSize: 16, txRingSize: 16, ...options });
  const { pool } = nic;
  try {
    await test(card, nic);
  } finally {
    await nic.close();
  }
  assert.is(pool.available, pool.capacity, 'every buffer is back');
  assert.equal(card.complaints, []);
  assert.is(card.status, 0, 'reset');
  assert.is(card.mapper.mapped.size, 0);
}

/** A frame that is filled with a number, to this address. */
export const frame = (
  number: number,
  to: ArrayLike<number> = [0x52, 0x54, 0, 0x12, 0x34, 0x56],
): Uint8Array => {
  const bytes = new Uint8Array(60).fill(number);
  bytes.set(to as number[]);
  return bytes;
};

/** What a queue has, by the byte that `frame` filled it with; the buffers go back. */
export function received(nic: NetDevice, queue = 0): number[] {
  const bufs = new Uint32Array(64);
  const count = nic.rxQueues[queue]!.receive(bufs);
  const numbers = Array.from(bufs.subarray(0, count), (packet) => nic.pool.bytes(packet)[20]!);
  nic.pool.release(bufs, count);
  return numbers;
}

/** Sends frames that are filled with 0, 1, ... Returns how many the ring took. */
export function send(
  nic: { readonly pool: PacketPool; readonly txQueues: readonly [Pick<TxQueue, 'send'>, ...unknown[]] },
  count: number,
): number {
  const bufs = new Uint32Array(count);
  assert.is(nic.pool.allocate(bufs, count), count);
  for (const [i, packet] of bufs.entries()) {
    nic.pool.bytes(packet).set(frame(i));
    nic.pool.lengths[packet] = 60;
  }
  const taken = nic.txQueues[0].send(bufs, count);
  nic.pool.release(bufs, count - taken, taken);
  return taken;
}
