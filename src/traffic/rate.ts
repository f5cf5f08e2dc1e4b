/**
 * Rates of traffic, as text or as a number of packets a second:
 *
 *     1500000, 250k, 1.5Mpps    packets a second
 *     800Mbit                   bits a second on the wire: frame, FCS, preamble and gap, as a line's speed is counted
 *     800MbitL2                 bits a second of frames with their FCS, as switches count
 *     50%                       of the line's speed
 */
import { NicError } from '../errors.js';
import { describeValue } from '../options.js';
import { FCS_BYTES } from './frame-size.js';

/** Packets a second, or text as above. */
export type RateSpec = number | string;

export interface Rate {
  readonly unit: 'packets' | 'wire-bits' | 'frame-bits' | 'percent';
  /** A second; percent of the line. */
  readonly value: number;
}

/** Preamble, start delimiter and inter-frame gap (IEEE 802.3, 4.4.2). */
export const PREAMBLE_AND_GAP_BYTES = 20;
const SCALES: Readonly<Record<string, number>> = { '': 1, k: 1e3, K: 1e3, M: 1e6, G: 1e9 };

/** Bits that a frame takes on the wire. @param frameBytes its length without FCS */
export function wireBits(frameBytes: number): number {
  return (frameBytes + FCS_BYTES + PREAMBLE_AND_GAP_BYTES) * 8;
}

/** Bits of a frame with its FCS. @param frameBytes its length without FCS */
export function frameBits(frameBytes: number): number {
  return (frameBytes + FCS_BYTES) * 8;
}

/** @throws NicError `BAD_OPTION` */
export function parseRate(spec: RateSpec): Rate {
  if (typeof spec === 'number') return checked(spec, 'packets', spec);
  const [, number, scale = '', unit = ''] =
    /^([0-9]+(?:\.[0-9]+)?)([kKMG]?)(pps|bit|bitL2|%)?$/.exec(spec.trim()) ?? [];
  // 1.1 * 1e6 is 1100000.0000000002.
  const value = Number((Number(number) * SCALES[scale]!).toPrecision(12));
  if (unit === 'bit') return checked(value, 'wire-bits', spec);
  if (unit === 'bitL2') return checked(value, 'frame-bits', spec);
  if (unit === '%') {
    if (scale !== '' || value > 100) throw bad(spec);
    return checked(value, 'percent', spec);
  }
  return checked(value, 'packets', spec);
}

function checked(value: number, unit: Rate['unit'], given: RateSpec): Rate {
  if (value > 0 && value <= Number.MAX_SAFE_INTEGER) return { unit, value };
  throw bad(given);
}

function bad(given: RateSpec): NicError {
  return new NicError('BAD_OPTION', `rate is ${describeValue(given)}`, {
    hint: 'Give packets a second (250k, 1.5Mpps), bits a second (800Mbit on the wire, 800MbitL2 in frames) or a share of the line (50%).',
  });
}

/**
 * The rate without percent.
 * @param lineBitsPerS speed of the line; 0 where it is not known
 * @throws NicError `BAD_OPTION` for percent of a speed that is not known
 */
export function absoluteRate(rate: Rate, lineBitsPerS: number): Rate {
  if (rate.unit !== 'percent') return rate;
  if (lineBitsPerS > 0) return { unit: 'wire-bits', value: (lineBitsPerS * rate.value) / 100 };
  throw new NicError('BAD_OPTION', `a rate of ${rate.value} % of a line whose speed is not known`, {
    hint: 'Give packets or bits a second, or the speed of the line (--line-rate 1G).',
  });
}

/** Packets a second that a rate is on average, for frames of that average length without FCS. */
export function packetsPerSecond(rate: Rate, averageBytes: number): number {
  if (rate.unit === 'wire-bits') return rate.value / wireBits(averageBytes);
  return rate.unit === 'frame-bits' ? rate.value / frameBits(averageBytes) : rate.value;
}

/** `1.5 Mpps`, `800 Mbit/s`. */
export function describeRate({ unit, value }: Rate): string {
  const [scale, prefix] =
    value >= 1e9 ? [1e9, 'G'] : value >= 1e6 ? [1e6, 'M'] : value >= 1e3 ? [1e3, 'k'] : [1, ''];
  const number = Number((value / scale).toPrecision(6));
  if (unit === 'percent') return `${value} %`;
  if (unit === 'packets') return `${number} ${prefix}pps`;
  return `${number} ${prefix}bit/s${unit === 'frame-bits' ? ' of frames' : ''}`;
}
