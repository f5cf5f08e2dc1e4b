/**
 * How a device with descriptor rings behind VFIO ends, whatever its family: DMA off before memory is unmapped, memory unmapped
 * before the device is closed.
 */
import createDebug from 'debug';
import type { NicError } from '../errors.js';
import type { DmaRegion } from '../hugepage/dma-region.js';
import type { PacketPool } from '../hugepage/packet-pool.js';
import type { Interrupts } from '../vfio/interrupts.js';
import type { VfioDevice } from '../vfio/types.js';

const debug = createDebug('barewire:driver');

/** Takes one step; what it throws is kept, and the next step is taken all the same. */
export type Attempt = (step: string, action: () => void | Promise<void>) => Promise<void>;

export interface DeviceParts {
  readonly vfio: VfioDevice;
  readonly interrupts: Interrupts | undefined;
  readonly queues: readonly { close(why: NicError): void; sealRing(): void }[];
  /** Memory of the rings. */
  readonly rings: DmaRegion;
  readonly pool: PacketPool;
  /** Whether the pool is attached to the device. */
  readonly attached: boolean;
  /** Whether the pool is the device's own, and ends with it. */
  readonly ownsPool: boolean;
  /** Thrown by the queues from then on. */
  readonly why: NicError;
}

/**
 * @param stopHardware the family's own first steps: stop queues, reset
 * @throws the first error, when all steps have been taken
 */
export async function shutDownDevice(
  parts: DeviceParts,
  stopHardware: (attempt: Attempt) => Promise<void>,
): Promise<void> {
  const { vfio, interrupts, queues, rings, pool, attached, ownsPool, why } = parts;
  let failure: unknown;
  // A device that hangs or is gone must not keep the memory: bus mastering off ends its DMA all the same.
  const attempt: Attempt = async (step, action) => {
    try {
      debug('%s: %s', vfio.address, step);
      await action();
    } catch (error) {
      failure ??= error;
    }
  };
  await stopHardware(attempt);
  await attempt('bus master off', () => vfio.disableBusMaster());
  await attempt('interrupts off', () => interrupts?.close());
  for (const queue of queues) queue.close(why);
  await attempt('unmap rings', () => rings.close());
  // Zero pages are in the rings' place now.
  for (const queue of queues) queue.sealRing();
  if (attached) await attempt('unmap buffers', () => pool.detach(vfio.mapper));
  if (ownsPool) await attempt('free buffers', () => pool.close());
  await attempt('close device', () => vfio.close());
  if (failure !== undefined) throw failure;
}
