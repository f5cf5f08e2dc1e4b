/** Name and MAC address of a model, unless it is given them. */
import { NicError } from '../../errors.js';

let count = 0;

export interface IdentityOptions {
  /** For messages. */
  readonly name?: string;
  /** MAC address, six bytes. */
  readonly mac?: Uint8Array;
}

/**
 * @param device what the model is: `82599ES SFP+`; its name by default is this and a number
 * @throws NicError `BAD_OPTION` where the MAC address is not that of a single station
 */
export function identify(device: string, options: IdentityOptions): Required<IdentityOptions> {
  count++;
  const mac = options.mac ?? Uint8Array.of(0x02, 0xba, 0x7e, 0x00, count >>> 8, count);
  if (mac.length !== 6 || (mac[0]! & 1) !== 0 || mac.every((byte) => byte === 0)) {
    throw new NicError('BAD_OPTION', 'a MAC address is six bytes, not multicast and not all zero');
  }
  return { name: options.name ?? `${device} #${count}`, mac: Uint8Array.from(mac) };
}
