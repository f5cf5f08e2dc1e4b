/** What the ends of links have counted, in plain data. */
import type { Port } from '../link.js';
import { PlayPort } from './play.js';
import { RecordPort } from './record.js';
import { StreamPort } from './stream.js';
import { TapPort } from './tap.js';
import { TrafficSink, TrafficSource } from './traffic.js';
import { TrafficPeer } from './traffic-peer.js';

/** Counts by name; empty for an end that counts by itself (a NIC has statistics registers). */
export function endCounters(end: Port): Readonly<Record<string, number>> {
  if (end instanceof TrafficPeer) return { sent: end.source.sent, ...end.sink.counters };
  if (end instanceof TrafficSource) return { sent: end.sent };
  if (end instanceof TrafficSink) return { ...end.counters };
  if (end instanceof RecordPort) return { ...end.writer.counters };
  if (end instanceof PlayPort || end instanceof TapPort || end instanceof StreamPort)
    return { ...end.counters };
  return {};
}
