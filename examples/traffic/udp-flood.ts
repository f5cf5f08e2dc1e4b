/**
 * UDP from random sources, as fast as it goes: how many packets a second does a firewall, a server or a forwarder stand?
 *
 *     barewire pktgen --script examples/traffic/udp-flood.ts PORT [PORT-BEHIND-IT]
 */
import { defineTraffic } from 'barewire/traffic';

export default defineTraffic({
  flows: [
    {
      name: 'flood',
      srcIp: '10.0.0.1-10.0.255.254~',
      dstIp: '192.0.2.1',
      srcPort: '1024-65535~',
      dstPort: 53,
      size: 64,
      durationMs: 10_000,
    },
  ],
});
