/** Names of link types as the registry of tcpdump.org has them (LINKTYPE_*), for messages. */
import { NicError } from '../errors.js';

export const LINKTYPE_ETHERNET = 1;

// biome-ignore format: a table
const NAMES: ReadonlyMap<number, string> = new Map([
  [0, 'NULL'], [1, 'ETHERNET'], [6, 'IEEE802_5'], [8, 'SLIP'], [9, 'PPP'], [10, 'FDDI'], [50, 'PPP_HDLC'],
  [51, 'PPP_ETHER'], [101, 'RAW'], [104, 'C_HDLC'], [105, 'IEEE802_11'], [107, 'FRELAY'], [108, 'LOOP'],
  [113, 'LINUX_SLL'], [117, 'PFLOG'], [119, 'IEEE802_11_PRISM'], [127, 'IEEE802_11_RADIOTAP'], [143, 'DOCSIS'],
  [163, 'IEEE802_11_AVS'], [187, 'BLUETOOTH_HCI_H4'], [189, 'USB_LINUX'], [192, 'PPI'], [195, 'IEEE802_15_4_WITHFCS'],
  [201, 'BLUETOOTH_HCI_H4_WITH_PHDR'], [220, 'USB_LINUX_MMAPPED'], [227, 'CAN_SOCKETCAN'], [228, 'IPV4'],
  [229, 'IPV6'], [230, 'IEEE802_15_4_NOFCS'], [239, 'NFLOG'], [249, 'USBPCAP'], [251, 'BLUETOOTH_LE_LL'],
  [253, 'NETLINK'], [276, 'LINUX_SLL2'],
]);

/** `LINUX_SLL (113)`; `999` where the number has no name here. */
export function linkTypeName(linkType: number): string {
  const name = NAMES.get(linkType);
  return name === undefined ? String(linkType) : `${name} (${linkType})`;
}

/** The error of a capture whose frames no Ethernet port can send. */
export function notEthernet(path: string, linkType: number): NicError {
  return new NicError(
    'BAD_OPTION',
    `${path} has frames of link type ${linkTypeName(linkType)}, not of ETHERNET`,
    { path, hint: ethernetHint(linkType) },
  );
}

/** What to do to get Ethernet frames where there are others. */
function ethernetHint(linkType: number): string {
  const name = NAMES.get(linkType) ?? '';
  if (name.startsWith('LINUX_SLL'))
    return 'A capture of all interfaces (tcpdump -i any) is like this. Capture on one Ethernet interface.';
  return 'Capture on an Ethernet interface.';
}
