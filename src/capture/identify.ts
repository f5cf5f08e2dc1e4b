/** Tells by its first bytes what kind of file a capture is. */
export type CaptureFormat = 'pcap' | 'pcapng';

export type Packing = 'gzip' | 'zstd';

export type FileKind =
  | { readonly format: CaptureFormat }
  | { readonly packed: Packing }
  /** Known, and not read: what it is, and what makes a file of it that is. */
  | { readonly refused: string; readonly hint: string };

/** As many bytes as are needed to tell. */
export const IDENTIFY_BYTES = 8;

const EDITCAP = 'Convert it with: editcap -F pcap OLD NEW';
const unpack = (command: string): string => `Unpack it with: ${command}`;

/** First bytes in hexadecimal, and what they mean. */
const KINDS: readonly (readonly [string, FileKind])[] = [
  ['d4c3b2a1', { format: 'pcap' }],
  ['a1b2c3d4', { format: 'pcap' }],
  ['4d3cb2a1', { format: 'pcap' }],
  ['a1b23c4d', { format: 'pcap' }],
  ['0a0d0d0a', { format: 'pcapng' }],
  ['34cdb2a1', { format: 'pcap' }],
  ['a1b2cd34', { format: 'pcap' }],
  ['1f8b', { packed: 'gzip' }],
  ['28b52ffd', { packed: 'zstd' }],
  [Buffer.from('snoop\0').toString('hex'), { refused: 'a capture of snoop', hint: EDITCAP }],
  [Buffer.from('GMBU').toString('hex'), { refused: 'a capture of Network Monitor', hint: EDITCAP }],
  ['fd377a585a00', { refused: 'packed with xz', hint: unpack('xz -d FILE') }],
  [Buffer.from('BZh').toString('hex'), { refused: 'packed with bzip2', hint: unpack('bzip2 -d FILE') }],
  ['04224d18', { refused: 'packed with lz4', hint: unpack('lz4 -d FILE') }],
  [Buffer.from('PK\x03\x04').toString('hex'), { refused: 'a zip archive', hint: unpack('unzip FILE') }],
];

/** @param first the first `IDENTIFY_BYTES` of a file, or all where it is shorter; undefined: of no known kind */
export function identify(first: Uint8Array): FileKind | undefined {
  const text = Buffer.from(first).toString('hex');
  return KINDS.find(([magic]) => text.startsWith(magic))?.[1];
}
