/**
 * A flow: frames of one kind, described by their headers, the fields of these that change, sizes and a rate. What is left out
 * has the defaults of the test frame (packet/test-frame.ts).
 */
import { NicError } from '../errors.js';
import { booleanOption, choiceOption, integerOption, knownOptions, millisecondsOption } from '../options.js';
import type { FieldValue } from './field-value.js';
import { type FrameSizes, frameSizes, type SizeSpec } from './frame-size.js';
import { parseRate, type Rate, type RateSpec } from './rate.js';

export type FlowProtocol = 'udp' | 'tcp' | 'icmp' | 'arp' | 'raw';

/** Some bytes of the payload that change. */
export interface PayloadField {
  /** From the first byte of the payload; even where the field has more than one byte. */
  readonly offsetBytes: number;
  readonly bytes: 1 | 2 | 4;
  readonly value: FieldValue<number>;
}

export interface FlowOptions {
  /** For reports. `flow 0`, `flow 1`, ... by default. */
  readonly name?: string;
  /**
   * `udp` by default, `raw` where `bytes` are given. `icmp` is an echo request, ICMPv6's with IPv6 addresses; `arp` a request
   * from `srcIp` for `dstIp`.
   */
  readonly protocol?: FlowProtocol;
  readonly srcMac?: FieldValue<string | Uint8Array>;
  readonly dstMac?: FieldValue<string | Uint8Array>;
  /** VLAN number; of two tags the outer one. */
  readonly vlan?: FieldValue<number>;
  /** VLAN number of the second tag. */
  readonly innerVlan?: FieldValue<number>;
  /** 0 to 7, of all tags. */
  readonly vlanPriority?: number;
  readonly srcIp?: FieldValue<string | Uint8Array>;
  readonly dstIp?: FieldValue<string | Uint8Array>;
  readonly srcPort?: FieldValue<number>;
  readonly dstPort?: FieldValue<number>;
  /** DSCP and ECN as one byte. */
  readonly tos?: FieldValue<number>;
  readonly ttl?: FieldValue<number>;
  /** Bits of `TcpFlag`; SYN by default. */
  readonly tcpFlags?: FieldValue<number>;
  readonly tcpSequence?: FieldValue<number>;
  readonly icmpId?: FieldValue<number>;
  /** Counting from 0 by default. */
  readonly icmpSequence?: FieldValue<number>;
  /** Bytes of the payload from its start; the rest is zeros. A payload given so has no number, and is not checked. */
  readonly payload?: Uint8Array;
  readonly payloadFields?: readonly PayloadField[];
  /** `raw`: the frame from its destination address on, without FCS. Padded with zeros to the size. */
  readonly bytes?: Uint8Array;
  /** Default: 64 bytes, or a little more where the headers need it. */
  readonly size?: SizeSpec;
  /** Without it frames go as fast as the port takes them. */
  readonly rate?: RateSpec;
  /** `even` by default; `poisson`: independent arrivals with the rate as average. */
  readonly spacing?: 'even' | 'poisson';
  /** Frames that go together, one after the other; the rate is kept on average. Default 1. */
  readonly burst?: number;
  /** In place of a rate: a burst begins so many milliseconds after the one before began. */
  readonly burstGapMs?: number;
  readonly count?: number;
  readonly durationMs?: number;
  /** Wait before the first frame, in milliseconds. */
  readonly startDelayMs?: number;
  /** Of the random numbers. Flows of one seed draw different ones. Default 1. */
  readonly seed?: number;
  /**
   * Frames are numbered and stamped, so that a checker can account for each. Default: UDP without a payload of its own.
   * UDP only.
   */
  readonly numbered?: boolean;
  /** Numbered frames carry the time at which they were written: for latencies. Default true. */
  readonly timeStamps?: boolean;
}

const KNOWN = [
  'name',
  'protocol',
  'srcMac',
  'dstMac',
  'vlan',
  'innerVlan',
  'vlanPriority',
  'srcIp',
  'dstIp',
  'srcPort',
  'dstPort',
  'tos',
  'ttl',
  'tcpFlags',
  'tcpSequence',
  'icmpId',
  'icmpSequence',
  'payload',
  'payloadFields',
  'bytes',
  'size',
  'rate',
  'spacing',
  'burst',
  'burstGapMs',
  'count',
  'durationMs',
  'startDelayMs',
  'seed',
  'numbered',
  'timeStamps',
] as const;

/** Options that mean something for some protocols only. */
const ONLY: readonly (readonly [keyof FlowOptions, readonly FlowProtocol[]])[] = [
  ['srcPort', ['udp', 'tcp']],
  ['dstPort', ['udp', 'tcp']],
  ['tos', ['udp', 'tcp', 'icmp']],
  ['ttl', ['udp', 'tcp', 'icmp']],
  ['tcpFlags', ['tcp']],
  ['tcpSequence', ['tcp']],
  ['icmpId', ['icmp']],
  ['icmpSequence', ['icmp']],
  ['payload', ['udp', 'tcp', 'icmp']],
  ['srcIp', ['udp', 'tcp', 'icmp', 'arp']],
  ['dstIp', ['udp', 'tcp', 'icmp', 'arp']],
  ['srcMac', ['udp', 'tcp', 'icmp', 'arp']],
  ['dstMac', ['udp', 'tcp', 'icmp', 'arp']],
  ['vlan', ['udp', 'tcp', 'icmp', 'arp']],
  ['innerVlan', ['udp', 'tcp', 'icmp', 'arp']],
  ['vlanPriority', ['udp', 'tcp', 'icmp', 'arp']],
  ['bytes', ['raw']],
];

/** A flow's options, checked, with everything about time and amount filled in. */
export interface CheckedFlow {
  readonly options: FlowOptions;
  readonly name: string;
  readonly protocol: FlowProtocol;
  readonly numbered: boolean;
  readonly timeStamps: boolean;
  /** Undefined: the shortest that the headers allow. */
  readonly sizes: FrameSizes | undefined;
  /** Undefined: as fast as the port takes them. */
  readonly rate: Rate | undefined;
  readonly poisson: boolean;
  readonly burst: number;
  /** 0 where there is none. */
  readonly burstGapMs: number;
  readonly count: number;
  readonly durationMs: number;
  readonly startDelayMs: number;
  readonly seed: number;
}

/**
 * Checks a flow's options against each other.
 * @param index of the flow, for its name
 * @throws NicError `BAD_OPTION`
 */
export function checkFlow(options: FlowOptions, index: number): CheckedFlow {
  knownOptions('a flow', options, KNOWN);
  const protocol = choiceOption(
    'protocol',
    options.protocol ?? (options.bytes === undefined ? 'udp' : 'raw'),
    ['udp', 'tcp', 'icmp', 'arp', 'raw'],
  );
  for (const [name, protocols] of ONLY) {
    if (options[name] !== undefined && !protocols.includes(protocol))
      throw unused(name, `a flow with protocol ${protocol}`, `it is for ${protocols.join(', ')}`);
  }
  if (options.innerVlan !== undefined && options.vlan === undefined)
    throw unused('innerVlan', 'a flow without vlan', 'give vlan as the outer tag');
  if (options.vlanPriority !== undefined && options.vlan === undefined)
    throw unused('vlanPriority', 'a flow without vlan', 'give vlan');
  if (protocol === 'raw' && options.bytes === undefined)
    throw unused('protocol', 'a raw flow without bytes', 'give the bytes of the frame');
  const numbered = options.numbered ?? (protocol === 'udp' && options.payload === undefined);
  if (numbered && (protocol !== 'udp' || options.payload !== undefined))
    throw unused(
      'numbered',
      'a flow that is no UDP, or has a payload of its own',
      'only the UDP payload has room for a number',
    );
  return {
    options,
    name: options.name ?? `flow ${index}`,
    protocol,
    numbered,
    timeStamps: numbered && booleanOption('timeStamps', options.timeStamps ?? true),
    sizes: options.size === undefined ? undefined : frameSizes(options.size),
    seed: integerOption('seed', options.seed ?? 1, { min: 0, max: 0xffff_ffff }) + index * 0x1_0001,
    ...timing(options),
  };
}

function timing(options: FlowOptions) {
  const poisson = choiceOption('spacing', options.spacing ?? 'even', ['even', 'poisson']) === 'poisson';
  const burst = integerOption('burst', options.burst ?? 1, { min: 1, max: 1e9 });
  const rate = options.rate === undefined ? undefined : parseRate(options.rate);
  const burstGapMs =
    options.burstGapMs === undefined ? 0 : millisecondsOption('burstGapMs', options.burstGapMs);
  if (burstGapMs > 0 && rate !== undefined)
    throw unused('burstGapMs', 'a flow with a rate', 'one of the two says when the next burst is due');
  if (options.burstGapMs !== undefined && !(burstGapMs > 0 && burstGapMs < Number.POSITIVE_INFINITY))
    throw new NicError('BAD_OPTION', `burstGapMs is ${options.burstGapMs}`, {
      hint: 'Give milliseconds above 0.',
    });
  if (poisson && rate === undefined)
    throw unused('spacing', 'a flow without rate', 'give the average as rate');
  if (poisson && burst > 1) throw unused('burst', 'a flow with Poisson spacing', 'its bursts come by chance');
  if (burst > 1 && rate === undefined && burstGapMs === 0)
    throw unused('burst', 'a flow without rate', 'give a rate, or burstGapMs');
  return {
    rate,
    poisson,
    burst,
    burstGapMs,
    count:
      options.count === undefined
        ? Number.POSITIVE_INFINITY
        : integerOption('count', options.count, { min: 1, max: Number.MAX_SAFE_INTEGER }),
    durationMs: millisecondsOption('durationMs', options.durationMs ?? Number.POSITIVE_INFINITY),
    startDelayMs: millisecondsOption('startDelayMs', options.startDelayMs ?? 0),
  };
}

function unused(name: keyof FlowOptions, where: string, why: string): NicError {
  return new NicError('BAD_OPTION', `${name} does nothing in ${where}`, { hint: `Leave it out: ${why}.` });
}
