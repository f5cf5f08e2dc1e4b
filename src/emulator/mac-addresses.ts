/** MAC addresses for emulated NICs that are given none, and for several that are given one. */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { basename, dirname } from 'node:path';

/** Locally administered (the second lowest bit of the first byte), not multicast (the lowest). */
const PREFIX = [0x02, 0xba];
const MAC_BYTES = 6;

/**
 * An address that no other NIC has at the same time, but for a chance of one in four billions: of this boot of the machine and
 * the place of the NIC's socket. Serving the same socket again gives the same address.
 */
export function derivedMac(socketPath: string): Uint8Array {
  const hash = createHash('sha256').update(placeOf(socketPath)).digest();
  return Uint8Array.from([...PREFIX, ...hash.subarray(0, MAC_BYTES - PREFIX.length)]);
}

/** By the folder's inode, not its name: in two containers, one name is two folders. */
function placeOf(socketPath: string): string {
  const parts = [basename(socketPath)];
  try {
    const { dev, ino } = statSync(dirname(socketPath), { bigint: true });
    parts.push(`${dev}:${ino}`, readFileSync('/proc/sys/kernel/random/boot_id', 'utf8'));
  } catch {
    // Without the folder serving fails, and says so.
    parts.push(socketPath);
  }
  return parts.join('\0');
}

/** The address `steps` after `mac`, counted in all its 48 bits. */
export function macAfter(mac: Uint8Array, steps: number): Uint8Array {
  const next = Uint8Array.from(mac);
  let carry = steps;
  for (let i = MAC_BYTES - 1; i >= 0 && carry > 0; i--) {
    carry += next[i]!;
    next[i] = carry;
    carry = Math.floor(carry / 256);
  }
  return next;
}
