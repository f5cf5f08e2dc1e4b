/**
 * Answers ARP requests and ping for one IPv4 address, without a network stack.
 *
 *     barewire pktgen --script examples/traffic/responder.ts PORT
 */
import { ArpView, buildArp, buildPing, IcmpType, IcmpView, Ipv4View, Layer } from 'barewire/packet';
import { defineTraffic } from 'barewire/traffic';

const IP = '10.0.0.9';
const arp = new ArpView();
const ip = new Ipv4View();
const icmp = new IcmpView();

export default defineTraffic({
  onFrame({ bytes, packet, device, reply }) {
    if (packet.has(Layer.ARP)) {
      arp.at(bytes, packet.l3Offset);
      if (arp.operation !== 1 || arp.targetIp !== IP) return;
      reply(
        buildArp({
          operation: 'reply',
          sourceMac: device.mac,
          destinationMac: bytes.subarray(6, 12),
          senderMac: device.mac,
          senderIp: IP,
          targetMac: arp.senderMac,
          targetIp: arp.senderIp,
        }),
      );
    } else if (packet.has(Layer.IPV4) && packet.has(Layer.ICMP)) {
      ip.at(bytes, packet.l3Offset);
      icmp.at(bytes, packet.l4Offset);
      if (icmp.type !== IcmpType.ECHO_REQUEST || ip.destination !== IP) return;
      reply(
        buildPing({
          reply: true,
          sourceMac: device.mac,
          destinationMac: bytes.subarray(6, 12),
          sourceIp: IP,
          destinationIp: ip.source,
          identifier: icmp.identifier,
          sequence: icmp.sequence,
          payload: bytes.subarray(packet.payloadOffset, packet.payloadOffset + packet.payloadBytes),
        }),
      );
    }
  },
});
