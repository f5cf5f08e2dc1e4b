/** Opens the ports of a command that sends and checks traffic. */
import type { NetDevice } from '../src/driver/device.js';
import { open } from '../src/driver/registry.js';
import { pageSizeFor } from './addresses.js';
import { type InterfaceOptions, interfaceOptions } from './interface-options.js';
import { warnOfMissingFrames } from './missing-frames.js';

export interface TrafficPortOptions extends InterfaceOptions {
  /** Largest layer 3 packet. */
  readonly mtu?: number;
  /** Receive descriptors of ports that check. */
  readonly ring?: number;
}

/**
 * For `runTraffic`.
 * @param checking indices of the ports that take every frame, whatever its address
 */
export function trafficPorts(
  addresses: readonly string[],
  checking: ReadonlySet<number>,
  options: TrafficPortOptions,
): ((signal: AbortSignal) => Promise<NetDevice>)[] {
  const { mtu, ring } = options;
  const ofInterface = interfaceOptions(addresses, options);
  return addresses.map((address, i) => async (signal) => {
    const device = await open(address, {
      pageSize: pageSizeFor(addresses),
      signal,
      ...ofInterface(address),
      ...(checking.has(i) ? { promiscuous: true } : {}),
      ...(checking.has(i) && ring !== undefined ? { rxRingSize: ring } : {}),
      ...(mtu === undefined ? {} : { mtu }),
    });
    if (checking.has(i)) warnOfMissingFrames(device);
    return device;
  });
}
