/** What `barewire emulate` prints at its end: a line for each end of a link, with what it counted. */
import type { RecordCounters } from '../src/capture/pcap-writer.js';
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
    return [`${trafficLine(port ?? 0, traffic)}${nobodyReceived(traffic.sent)}`];
  }
  if (end instanceof PlayPort) {
    const { played, leftOut, tooLong } = end.counters;
    const text = `played ${played} of ${end.total}, left out ${leftOut}, too long ${tooLong}`;
    return [`play ${at}: ${text}${nobodyReceived(played)}`];
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

function nobodyReceived(sent: number): string {
  return sent === 0 ? ' (nobody received)' : '';
}

function recordText({ written, unread, slow, failed }: RecordCounters): string {
  const reasons = [
    ...(unread === 0 ? [] : [`nobody read ${unread}`]),
    ...(slow === 0 ? [] : [`reader too slow for ${slow}`]),
    ...(failed === 0 ? [] : [`failed ${failed}`]),
  ];
  const why = reasons.length === 0 ? '' : ` (${reasons.join(', ')})`;
  return `written ${written}, not written ${unread + slow + failed}${why}`;
}

function cableLines(
  cable: Cable | undefined,
  link: number,
  a: number | undefined,
  b: number | undefined,
): string[] {
  if (cable === undefined) return [];
  const [to, from] = b === undefined ? [`from port ${a}`, `to port ${a}`] : [`${a} to ${b}`, `${b} to ${a}`];
  return [
    `link ${link} ${to}: ${laneText(cable.counters('ab'))}`,
    `link ${link} ${from}: ${laneText(cable.counters('ba'))}`,
  ];
}

function laneText({ carried, lost, damaged, overflowed, underWay }: LaneCounters): string {
  return `carried ${carried}, lost ${lost}, damaged ${damaged}, overflowed ${overflowed}, under way ${underWay}`;
}
