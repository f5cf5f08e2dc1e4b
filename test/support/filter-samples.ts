/** Frames, and filters with the frames that they take. Compared with tcpdump's. */
import { buildArp } from '../../src/packet/link-builder.js';
import { buildIcmp, buildTcp, buildUdp } from '../../src/packet/transport-builder.js';

const MAC_A = '02:00:00:00:00:0a';
const MAC_B = '02:00:00:00:00:0b';
const ends = { sourceMac: MAC_A, destinationMac: MAC_B };
const ip4 = { ...ends, sourceIp: '10.0.0.1', destinationIp: '10.9.0.2' };
const ip6 = { ...ends, sourceIp: '2001:db8::1', destinationIp: 'ff02::2' };
const ports = { sourcePort: 53, destinationPort: 3000 };

const later = Buffer.from(buildUdp({ ...ip4, ...ports }));
later[21] = 5; // a later fragment: no ports

/** Frames by name. */
export const FRAMES: Readonly<Record<string, Uint8Array>> = {
  udp: buildUdp({ ...ip4, ...ports }),
  tcp: buildTcp({ ...ip4, sourcePort: 40_000, destinationPort: 53 }),
  icmp: buildIcmp({ ...ip4, type: 8 }),
  udp6: buildUdp({ ...ip6, ...ports }),
  arp: buildArp({
    ...ends,
    operation: 'request',
    senderMac: MAC_A,
    senderIp: '10.0.0.1',
    targetIp: '10.9.0.2',
  }),
  tagged: buildUdp({ ...ip4, ...ports, vlan: 7 }),
  twice: buildUdp({ ...ip4, ...ports, vlan: [7, 9] }),
  later,
  group: buildUdp({ ...ip4, ...ports, destinationMac: '01:00:5e:00:00:01', destinationIp: '224.0.0.1' }),
};

/** A filter, and the names of the frames that it takes. */
// biome-ignore format: a table
export const MATCHES: readonly (readonly [string, string])[] = [
  ['ip', 'udp tcp icmp later group'],
  ['ip6', 'udp6'],
  ['arp', 'arp'],
  ['udp', 'udp udp6 later group'],
  ['tcp', 'tcp'],
  ['icmp', 'icmp'],
  ['icmp6', ''],
  ['udp port 53', 'udp udp6 group'],
  ['port domain', 'udp tcp udp6 group'],
  ['dst port 53', 'tcp'],
  ['src port 53 or 40000', 'udp tcp udp6 group'],
  ['src and dst port 53', ''],
  ['src or dst port 3000', 'udp udp6 group'],
  ['tcp portrange 50-60', 'tcp'],
  ['tcp portrange 60-50', 'tcp'],
  ['portrange 54-2999', ''],
  ['host 10.0.0.1', 'udp tcp icmp arp later group'],
  ['ip host 10.9.0.2', 'udp tcp icmp later'],
  ['arp host 10.9.0.2', 'arp'],
  ['arp src host 10.9.0.2', ''],
  ['src 10.0.0.1 and dst 10.9.0.2', 'udp tcp icmp arp later'],
  ['host 2001:db8::1', 'udp6'],
  ['net 10.9', 'udp tcp icmp arp later'],
  ['net 10.9.0.0 mask 255.255.0.0', 'udp tcp icmp arp later'],
  ['net 2001:db8::/32', 'udp6'],
  ['dst net 224.0.0.0/4', 'group'],
  ['ip proto 1 or ip6 proto \\udp', 'icmp udp6'],
  ['proto 17', 'udp udp6 later group'],
  ['ether proto 0x0806', 'arp'],
  ['ether src host 02:00:00:00:00:0a and not ether dst 02:00:00:00:00:0b', 'group'],
  ['ether multicast', 'group'],
  ['ip multicast', 'group'],
  ['ip6 multicast', 'udp6'],
  ['vlan', 'tagged twice'],
  ['vlan 7 and udp port 53', 'tagged'],
  ['vlan and vlan 9 and host 10.0.0.1', 'twice'],
  ['vlan 9', ''],
  ['less 60', 'udp tcp icmp arp tagged twice later group'],
  ['greater 62', 'udp6'],
  ['not ip', 'udp6 arp tagged twice'],
  ['! ip && ! vlan', 'udp6 arp'],
  ['tcp or udp and arp', ''],
  ['tcp or (udp and ip6)', 'tcp udp6'],
  ['port (53 or 3000) and tcp', 'tcp'],
  ['not host 10.9.0.2 and 10.0.0.1', 'group'],
];
