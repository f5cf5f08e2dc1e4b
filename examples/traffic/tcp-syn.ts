/**
 * TCP SYNs from many sources, and a count of what answers: SYN-ACK, RST, or nobody. Answers come to the port that sends, where the
 * source addresses lead there.
 *
 *     barewire pktgen --script examples/traffic/tcp-syn.ts PORT
 */
import { Layer, TcpFlag } from 'barewire/packet';
import { defineTraffic } from 'barewire/traffic';

const answers = { synAck: 0, rst: 0 };

export default defineTraffic({
  flows: [
    {
      name: 'syn',
      protocol: 'tcp',
      srcIp: '10.0.0.1-10.0.0.254~',
      dstIp: '10.0.0.9',
      srcPort: '1024-65535~',
      dstPort: 80,
      rate: 1000,
      count: 5000,
    },
  ],
  onFrame({ packet }) {
    if (!packet.has(Layer.TCP)) return;
    const { tcpFlags } = packet;
    if ((tcpFlags & TcpFlag.RST) !== 0) answers.rst++;
    else if ((tcpFlags & TcpFlag.SYN) !== 0 && (tcpFlags & TcpFlag.ACK) !== 0) answers.synAck++;
  },
  onPhaseEnd({ sent }) {
    console.error(`${sent} SYNs, ${answers.synAck} SYN-ACKs, ${answers.rst} RSTs`);
  },
});
