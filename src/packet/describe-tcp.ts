/** A TCP segment in tcpdump's words. Option kinds: IANA, "TCP Option Kind Numbers". */
import { readU16, readU32 } from './bytes.js';
import type { PacketView } from './packet-view.js';
import { TCP_BYTES, TcpFlag } from './protocols.js';
import { TcpView } from './transport-views.js';

const FLAG_LETTERS = [
  [TcpFlag.FIN, 'F'],
  [TcpFlag.SYN, 'S'],
  [TcpFlag.RST, 'R'],
  [TcpFlag.PSH, 'P'],
  [TcpFlag.ACK, '.'],
  [TcpFlag.URG, 'U'],
  [TcpFlag.ECE, 'E'],
  [TcpFlag.CWR, 'W'],
] as const;

const Option = { END: 0, NOP: 1, MSS: 2, WINDOW_SCALE: 3, SACK_OK: 4, SACK: 5, TIME_STAMPS: 8 } as const;

/** @param payloadBytes as the IP header says */
export function describeTcp(view: PacketView, payloadBytes: number): string {
  const tcp = new TcpView().at(view.bytes, view.l4Offset);
  const { flags, sequence } = tcp;
  const letters = FLAG_LETTERS.map(([flag, letter]) => ((flags & flag) === 0 ? '' : letter)).join('');
  const parts = [`Flags [${letters || 'none'}]`];
  if (payloadBytes > 0) parts.push(`seq ${sequence}:${(sequence + payloadBytes) >>> 0}`);
  else if ((flags & (TcpFlag.SYN | TcpFlag.FIN | TcpFlag.RST)) !== 0) parts.push(`seq ${sequence}`);
  if ((flags & TcpFlag.ACK) !== 0) parts.push(`ack ${tcp.acknowledgment}`);
  parts.push(`win ${tcp.window}`);
  if ((flags & TcpFlag.URG) !== 0) parts.push(`urg ${tcp.urgentPointer}`);
  const end = view.l4Offset + view.l4HeaderBytes;
  const options = optionsOf(view.bytes, view.l4Offset + TCP_BYTES, end);
  if (options.length > 0) parts.push(`options [${options.join(',')}]`);
  return `${parts.join(', ')}, length ${payloadBytes}`;
}

function optionsOf(bytes: Uint8Array, start: number, end: number): string[] {
  const options: string[] = [];
  for (let at = start; at < end; ) {
    const kind = bytes[at]!;
    if (kind === Option.END) return [...options, 'eol'];
    if (kind === Option.NOP) {
      options.push('nop');
      at++;
      continue;
    }
    const lengthBytes = at + 1 < end ? bytes[at + 1]! : 0;
    if (lengthBytes < 2 || at + lengthBytes > end) return [...options, '[bad opt]'];
    options.push(optionText(bytes, kind, at, lengthBytes));
    at += lengthBytes;
  }
  return options;
}

function optionText(bytes: Uint8Array, kind: number, at: number, lengthBytes: number): string {
  if (kind === Option.MSS && lengthBytes === 4) return `mss ${readU16(bytes, at + 2)}`;
  if (kind === Option.WINDOW_SCALE && lengthBytes === 3) return `wscale ${bytes[at + 2]}`;
  if (kind === Option.SACK_OK && lengthBytes === 2) return 'sackOK';
  if (kind === Option.TIME_STAMPS && lengthBytes === 10)
    return `TS val ${readU32(bytes, at + 2)} ecr ${readU32(bytes, at + 6)}`;
  if (kind === Option.SACK && lengthBytes % 8 === 2) {
    const count = (lengthBytes - 2) / 8;
    const edge = (i: number): number => readU32(bytes, at + 2 + 4 * i);
    const blocks = Array.from({ length: count }, (_, i) => `{${edge(2 * i)}:${edge(2 * i + 1)}}`);
    return `sack ${count} ${blocks.join('')}`;
  }
  const data = Array.from(bytes.subarray(at + 2, at + lengthBytes), (byte) =>
    byte.toString(16).padStart(2, '0'),
  );
  return `unknown-${kind}${data.length > 0 ? ` 0x${data.join('')}` : ''}`;
}
