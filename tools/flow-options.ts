/** The options of a command line that describe a flow of traffic. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { NicError } from '../src/errors.js';
import { ipField, macField, numberField } from '../src/traffic/field-value.js';
import { frameSizes } from '../src/traffic/frame-size.js';
import { type FieldValue, type FlowOptions, parseRate } from '../src/traffic/index.js';
import { durationMs, integerBetween, positiveInteger } from './option-values.js';

export interface FlowArguments {
  readonly size?: string;
  readonly rate?: string;
  readonly count?: number;
  readonly proto?: 'udp' | 'tcp' | 'icmp' | 'arp';
  readonly ipv6?: true;
  readonly srcMac?: string;
  readonly dstMac?: string;
  readonly vlan?: string;
  readonly innerVlan?: string;
  readonly srcIp?: string;
  readonly dstIp?: string;
  readonly srcPort?: string;
  readonly dstPort?: string;
  readonly tos?: string;
  readonly ttl?: string;
  readonly tcpFlags?: string;
  readonly poisson?: true;
  readonly burst?: number;
  readonly burstGap?: number;
  readonly seed?: number;
}

const IPV6 = { srcIp: '2001:2::1', dstIp: '2001:2::2' };

/** Option value: checked by what reads it later, and passed on as the text that it is. */
function text(read: (value: string) => unknown): (value: string) => string {
  return (value) => {
    try {
      read(value);
    } catch (error) {
      if (!(error instanceof NicError)) throw error;
      throw new InvalidArgumentError(`${error.message}. ${error.hint ?? ''}`);
    }
    return value;
  };
}

const number = (name: string, max: number, bytes: 1 | 2) =>
  text((value) => numberField(name, value, max, bytes));
const ip = (name: string) => text((value) => ipField(name, value));
const mac = (name: string) => text((value) => macField(name, value));

/** Adds the options of a flow to a command. */
export function addFlowOptions(command: Command): Command {
  command
    .option(
      '--size <bytes>',
      'frame size with the 4 bytes of FCS: 64; 64,512 in turn; 64-1518 counting, 64-1518~ random; 64:7,1518:1 a mix; imix (default: 64)',
      text(frameSizes),
    )
    .option(
      '--rate <rate>',
      '250k or 1.5Mpps frames a second, 800Mbit on the wire, 800MbitL2 in frames, 50% of the line (default: as fast as it goes)',
      text(parseRate),
    )
    .option('--count <n>', 'stop after this many frames', positiveInteger)
    .addOption(
      new Option('--proto <protocol>', 'what the frames are').choices(['udp', 'tcp', 'icmp', 'arp']),
    );
  return addAddressOptions(command)
    .option(
      '--tcp-flags <bits>',
      'TCP flags as a number: 2 SYN (default), 16 ACK',
      number('--tcp-flags', 0xff, 1),
    )
    .option('--poisson', 'frames come at random times, with the rate on average')
    .option('--burst <n>', 'frames that are sent together; the rate is kept on average', positiveInteger)
    .option('--burst-gap <time>', 'in place of --rate: time from burst to burst', durationMs)
    .option('--seed <n>', 'other random numbers', integerBetween(0, 0xffff_ffff));
}

/** Adds those that say where frames come from and go to. */
export function addAddressOptions(command: Command): Command {
  return command
    .option('--ipv6', 'IPv6 addresses where none are given')
    .option(
      '--src-ip <ip>',
      'source: 10.0.0.1; 10.0.0.1-10.0.0.9 in turn, with a ~ at the end random; a,b,c',
      ip('--src-ip'),
    )
    .option('--dst-ip <ip>', 'destination, as --src-ip', ip('--dst-ip'))
    .option(
      '--src-port <port>',
      'source port: 1000, 1000-1999, 1000-1999~, 53,123',
      number('--src-port', 0xffff, 2),
    )
    .option('--dst-port <port>', 'destination port, as --src-port', number('--dst-port', 0xffff, 2))
    .option('--src-mac <mac>', "source MAC address or range (default: the port's)", mac('--src-mac'))
    .option(
      '--dst-mac <mac>',
      'destination MAC address or range (default: 02:00:00:00:00:01, locally administered)',
      mac('--dst-mac'),
    )
    .option('--vlan <id>', 'VLAN tag, as --src-port', number('--vlan', 4095, 2))
    .option('--inner-vlan <id>', 'second VLAN tag', number('--inner-vlan', 4095, 2))
    .option('--tos <byte>', 'DSCP and ECN, 0 to 255', number('--tos', 0xff, 1))
    .option('--ttl <n>', 'time to live, hop limit', number('--ttl', 0xff, 1));
}

/** The flow that the options describe. @param timeStamps whether its frames tell when they were sent */
export function flowOf(options: FlowArguments, timeStamps: boolean): FlowOptions {
  const {
    proto,
    ipv6,
    burstGap,
    poisson,
    tcpFlags,
    tos,
    ttl,
    srcPort,
    dstPort,
    vlan,
    innerVlan,
    srcIp,
    dstIp,
  } = options;
  const isNumbered = (proto ?? 'udp') === 'udp';
  if (ipv6 && [srcIp, dstIp].some((given) => given?.includes('.')))
    throw new NicError('BAD_OPTION', '--ipv6 with an IPv4 address', { hint: 'Leave one of them out.' });
  if (ipv6 && proto === 'arp')
    throw new NicError('BAD_OPTION', '--ipv6 with --proto arp', {
      hint: 'ARP is for IPv4: leave one of them out.',
    });
  const fields: Record<string, FieldValue<number> | string | undefined> = {
    tcpFlags,
    tos,
    ttl,
    srcPort,
    dstPort,
    vlan,
    innerVlan,
    srcMac: options.srcMac,
    dstMac: options.dstMac,
    srcIp: srcIp ?? (ipv6 ? IPV6.srcIp : undefined),
    dstIp: dstIp ?? (ipv6 ? IPV6.dstIp : undefined),
    size: options.size,
    rate: options.rate,
  };
  const isRandom = (value: unknown): boolean => typeof value === 'string' && value.endsWith('~');
  if (options.seed !== undefined && poisson !== true && !Object.values(fields).some(isRandom))
    throw new NicError('BAD_OPTION', '--seed is for what is drawn at random', {
      hint: 'Leave it out, or give --poisson or a range with a ~ at its end: --src-port 1000-1999~.',
    });
  return {
    ...Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)),
    ...(proto === undefined ? {} : { protocol: proto }),
    ...(poisson ? { spacing: 'poisson' as const } : {}),
    ...(options.burst === undefined ? {} : { burst: options.burst }),
    ...(burstGap === undefined ? {} : { burstGapMs: burstGap }),
    ...(options.count === undefined ? {} : { count: options.count }),
    ...(options.seed === undefined ? {} : { seed: options.seed }),
    ...(isNumbered ? { timeStamps } : {}),
  };
}
