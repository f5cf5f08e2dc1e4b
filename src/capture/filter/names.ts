/** Names that filters use for numbers: protocols and services (IANA's registries). */
import { EtherType, IpProtocol } from '../../packet/protocols.js';

/** Types behind Ethernet's addresses. */
export const ETHER_TYPES: ReadonlyMap<string, number> = new Map(
  Object.entries({
    ip: EtherType.IPV4,
    ip6: EtherType.IPV6,
    arp: EtherType.ARP,
    rarp: 0x8035,
    lldp: 0x88cc,
  }),
);

export const SCTP = 132;

/** Protocols that IP carries. */
export const IP_PROTOCOLS: ReadonlyMap<string, number> = new Map(
  Object.entries({
    icmp: IpProtocol.ICMP,
    igmp: 2,
    tcp: IpProtocol.TCP,
    udp: IpProtocol.UDP,
    gre: 47,
    esp: 50,
    ah: IpProtocol.AH,
    icmp6: IpProtocol.ICMPV6,
    ospf: 89,
    pim: 103,
    vrrp: 112,
    sctp: SCTP,
  }),
);

/** Ports that have a name here. Others are given as numbers. */
export const SERVICES: ReadonlyMap<string, number> = new Map(
  Object.entries({
    'ftp-data': 20,
    ftp: 21,
    ssh: 22,
    telnet: 23,
    smtp: 25,
    domain: 53,
    bootps: 67,
    bootpc: 68,
    tftp: 69,
    http: 80,
    ntp: 123,
    snmp: 161,
    bgp: 179,
    ldap: 389,
    https: 443,
    syslog: 514,
    nfs: 2049,
    iscsi: 860,
    mdns: 5353,
  }),
);
