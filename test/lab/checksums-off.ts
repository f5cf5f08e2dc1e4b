/**
 *     checksums-off.js INTERFACE
 *
 * Has the kernel compute the checksums of what it sends on an interface. A veth leaves them to a card that never comes,
 * and marks that beside the frame, where AF_XDP does not show it. Runs in the interface's network namespace.
 */

import { ioctl } from '../../src/syscalls/ioctl.js';
import { addressOf } from '../../src/syscalls/memory.js';
import { rawSocket } from '../../src/syscalls/sockets.js';

const AF_PACKET = 17;
const SIOCETHTOOL = 0x8946;
const ETHTOOL_SET_TX_CHECKSUM = 0x17;

/** `struct ethtool_value`: command, value. More than 64 bytes: its memory must not move. */
const value = new Uint32Array(new ArrayBuffer(128));
value[0] = ETHTOOL_SET_TX_CHECKSUM;
const request = new DataView(new ArrayBuffer(128));
for (const [i, byte] of Buffer.from(process.argv[2]!).entries()) request.setUint8(i, byte);
request.setBigUint64(16, addressOf(new Uint8Array(value.buffer)), true);
ioctl(rawSocket(AF_PACKET), SIOCETHTOOL, 'SIOCETHTOOL', new Uint8Array(request.buffer));
