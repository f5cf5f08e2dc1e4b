/** What `barewire emulate` prints at its end: a line for each end of a link, with what it counted. */
import type { RecordCounters } from '../src/capture/capture-writer.js';
import type { Port } from '../src/emulator/link.js';
import type { Cable, LaneCounters } from '../src/emulator/links/cable.js';
import { PlayPort } from '../src/emulator/links/play.js';
import { RecordPort } from '../src/emulator/links/record.js';
import { StreamPort } from '../src/emulator/links/stream.js';
import { TapPort } from '../src/emulator/links/tap.js';
import { TrafficPeer } from '../src/emulator/links/traffic-peer.js';
import type { Emulator, LinkDescription } from '../src/emulator/topology.js';
import { type PortTraffic, trafficLine } from './emulated-ports.js';

/** @param links the description that the emulator was built from */
export function endLines(emulator: Emulator, links: readonly LinkDescription[]): string[] {
  const { ends, cables, captures, models } = emulator;
  return [
    ...links.flatMap((link, i) => [
      ...farEndLine(ends[i]![1], nicOf(link, 0)),
      ...cableLines(cables[i], i, nicOf(link, 0), nicOf(link, 1)),
      ...(captures[i] === undefined ? [] : [`capture of link ${i}: ${recordText(captures[i].counters)}`]),
    ]),
    ...models.flatMap(({ unheard }, port) =>
      unheard === 0 ? [] : [`port ${port}: ${unheard} frames came while nobody received`],
    ),
  ];
}

export function portTraffic(peer: TrafficPeer): PortTraffic {
  return { sent: peer.source.sent, ...peer.sink.counters };
}

function nicOf(link: LinkDescription, end: 0 | 1): number | undefined {
  const description = link.ends[end];
  return 'nic' in description ? description.nic : undefined;
}

function farEndLine(end: Port, port: number | undefined): string[] {
  const at = `at port ${port}`;
  if (end instanceof TrafficPeer) {
    const traffic = portTraffic(end);
    return [trafficLine(port ?? 0, traffic), ...nobodyReceived(traffic.sent, port)];
  }
  if (end instanceof PlayPort) {
    const { played, leftOut, tooLong } = end.counters;
    const text = `played ${played} of ${end.total}, left out ${leftOut}, too long ${tooLong}`;
    return [`play ${at}: ${text}`, ...nobodyReceived(played, port)];
  }
  if (end instanceof RecordPort) return [`record ${at}: ${recordText(end.writer.counters)}`];
  if (end instanceof TapPort) {
    const { in: from, out: to, dropped } = end.counters;
    return [`tap ${end.name} ${at}: in ${from}, out ${to}, dropped ${dropped}`];
  }
  if (end instanceof StreamPort) {
    const { in: from, out: to, dropped, malformed } = end.counters;
    return [`stream ${at}: in ${from}, out ${to}, dropped ${dropped}, malformed ${malformed}`];
  }
  return [];
}

function nobodyReceived(sent: number, port: number | undefined): string[] {
  return sent === 0 ? [`port ${port}: nobody received, so nothing was sent`] : [];
}

/** `written 10, not written 2 (slow 2)`. */
export function recordText({ written, unread, slow, failed }: RecordCounters): string {
  const reasons = withoutZeros({ unread, slow, failed });
  const why = reasons.length === 0 ? '' : ` (${reasons.join(', ')})`;
  return `written ${written}, not written ${unread + slow + failed}${why}`;
}

/** @param a NIC at the cable's first end, `b` at its other */
function cableLines(
  cable: Cable | undefined,
  link: number,
  a: number | undefined,
  b: number | undefined,
): string[] {
  if (cable === undefined) return [];
  return [
    `link ${link} from port ${a}: ${laneText(cable.counters('ab'))}`,
    `link ${link} ${b === undefined ? `to port ${a}` : `from port ${b}`}: ${laneText(cable.counters('ba'))}`,
  ];
}

function laneText({
  carried,
  lost,
  damaged,
  duplicated,
  reordered,
  dropped,
  overflowed,
  wrongFcs,
  underWay,
}: LaneCounters): string {
  const counts = `carried ${carried}, lost ${lost}, damaged ${damaged}, overflowed ${overflowed}`;
  return [
    counts,
    ...withoutZeros({
      duplicated,
      reordered,
      'dropped halfway': dropped,
      'sent with a wrong FCS': wrongFcs,
      'under way': underWay,
    }),
  ].join(', ');
}

/** `slow 3`, for each that is not 0. */
function withoutZeros(counts: Readonly<Record<string, number>>): string[] {
  return Object.entries(counts).flatMap(([name, count]) => (count === 0 ? [] : [`${name} ${count}`]));
}
