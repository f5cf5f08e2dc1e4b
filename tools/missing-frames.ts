/** What a user has to know of a port that cannot receive every frame. */
import type { NetDevice } from '../src/driver/device.js';
import { warn } from './output.js';

/**
 * Says so where fewer frames come than were asked for.
 * @param promiscuous false where only those to the port's own address were
 */
export function warnOfMissingFrames(
  device: Pick<NetDevice, 'address' | 'capabilities' | 'macAddress' | 'limits' | 'rxQueues'>,
  promiscuous = true,
): void {
  const { address, capabilities, macAddress } = device;
  if (promiscuous && capabilities.promiscuous === 'multicast') {
    warn(
      `${address} is a virtual function: of unicast frames only those to ${macAddress} come`,
      'stations have to send there; a hook (fwd --on-packet) can put in for whom a frame is',
    );
  }
  if (capabilities.sharesInterface) warnOfOtherQueues(device);
}

/** The kernel spreads flows over all queues of its interface. An address with a queue's number says that one was meant. */
function warnOfOtherQueues({
  address,
  limits,
  rxQueues,
}: Pick<NetDevice, 'address' | 'limits' | 'rxQueues'>): void {
  const [open, all] = [rxQueues.length, limits.maxQueuePairs];
  if (open >= all || /\/\d+$/.test(address)) return;
  const name = address.slice(address.indexOf(':') + 1);
  warn(
    `${address} has ${all} receive queues, of which ${open === 1 ? 'one is' : `${open} are`} taken: flows on the others stay with the kernel`,
    `"ethtool -L ${name} combined ${open}" leaves no others; fwd takes all with --queues ${all}`,
  );
}
