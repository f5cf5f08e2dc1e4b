/**
 * Sizes of frames, in bytes with the 4 bytes of FCS, as everybody counts them who speaks of 64-byte frames. As text:
 *
 *     64                     always this
 *     64,512,1518            in turn
 *     64-1518                counting up; 64-1518/2 every second one; 64-1518~ random
 *     64:7,594:4,1518:1      a mix: of each 12 frames 7, 4 and 1, evenly interleaved
 *     imix                   that mix: the "simple IMIX" of IP packets of 40, 576 and 1500 bytes
 *
 * A mix is exact after each round, not only on average.
 */
import { NicError } from '../errors.js';
import { describeValue } from '../options.js';
import { mixSeed, nextRandom, unitOf } from './random.js';

/** Sizes as text (see above), one, several in turn, a range, or a mix of sizes with weights. */
export type SizeSpec =
  | number
  | string
  | readonly number[]
  | { readonly from: number; readonly to: number; readonly step?: number; readonly random?: boolean }
  | { readonly mix: Readonly<Record<number, number>> };

export const FCS_BYTES = 4;
/** Of an Ethernet frame with its FCS (IEEE 802.3, 4A.4.2), and more than any card here sends. */
const SIZE = { min: 64, max: 16_384 } as const;
const MAX_ROUND = 65_536;
const IMIX = '64:7,594:4,1518:1';

/** Sizes in the order in which they are used, without FCS. */
export interface FrameSizes {
  /** One round. */
  readonly round: Uint16Array;
  /** Drawn from the round, not in turn. */
  readonly random: boolean;
  readonly minBytes: number;
  readonly maxBytes: number;
  readonly averageBytes: number;
}

/** @throws NicError `BAD_OPTION` */
export function frameSizes(spec: SizeSpec): FrameSizes {
  if (typeof spec === 'number') return sizesOf([spec], false);
  if (typeof spec === 'string') return sizesOfText(spec);
  if (Array.isArray(spec)) return sizesOf(spec as readonly number[], false);
  if ('mix' in spec)
    return mixOf(Object.entries(spec.mix).map(([size, weight]) => [Number(size), weight] as const));
  const { from, to, step = 1, random = false } = spec as Extract<SizeSpec, { from: number }>;
  return rangeOf(from, to, step, random);
}

function sizesOfText(text: string): FrameSizes {
  if (text === 'imix') return sizesOfText(IMIX);
  if (/^[0-9]+(,[0-9]+)*$/.test(text)) return sizesOf(text.split(',').map(Number), false);
  const [, from, to, step, random] = /^([0-9]+)-([0-9]+)(?:\/([0-9]+))?(~?)$/.exec(text) ?? [];
  if (from !== undefined) return rangeOf(Number(from), Number(to), Number(step ?? 1), random === '~');
  if (/^[0-9]+:[0-9]+(,[0-9]+:[0-9]+)*$/.test(text))
    return mixOf(text.split(',').map((part) => part.split(':').map(Number) as [number, number]));
  throw bad(
    describeValue(text),
    '64, 64,512,1518 (in turn), 64-1518, 64-1518~ (random), 64:7,1518:1 (a mix) or imix',
  );
}

function rangeOf(from: number, to: number, step: number, random: boolean): FrameSizes {
  if (!(Number.isInteger(step) && step >= 1)) throw bad(`a range with step ${step}`, 'a step from 1');
  if (to < from) throw bad(`the empty range ${from}-${to}`, 'the smaller size first');
  checkSize(from);
  checkSize(to);
  const sizes = [];
  for (let size = from; size <= to; size += step) sizes.push(size);
  return sizesOf(sizes, random);
}

/** Smooth weighted round robin: each size comes as often as its weight says, and as evenly as can be. */
function mixOf(parts: readonly (readonly [number, number])[]): FrameSizes {
  const total = parts.reduce((sum, [, weight]) => sum + weight, 0);
  if (
    parts.some(([, weight]) => !(Number.isInteger(weight) && weight >= 0)) ||
    total < 1 ||
    total > MAX_ROUND
  )
    throw bad(
      `a mix with weights ${parts.map(([, weight]) => weight).join(', ')}`,
      `whole weights with a sum from 1 to ${MAX_ROUND}`,
    );
  const credit = parts.map(() => 0);
  const sizes = [];
  for (let i = 0; i < total; i++) {
    let best = 0;
    for (let p = 0; p < parts.length; p++) {
      credit[p]! += parts[p]![1];
      if (credit[p]! > credit[best]!) best = p;
    }
    credit[best]! -= total;
    sizes.push(parts[best]![0]);
  }
  return sizesOf(sizes, false);
}

function sizesOf(sizes: readonly number[], random: boolean): FrameSizes {
  if (sizes.length === 0 || sizes.length > MAX_ROUND)
    throw bad(`a list of ${sizes.length} sizes`, `1 to ${MAX_ROUND}`);
  const round = Uint16Array.from(sizes, (size) => checkSize(size) - FCS_BYTES);
  return {
    round,
    random,
    minBytes: round.reduce((a, b) => Math.min(a, b)),
    maxBytes: round.reduce((a, b) => Math.max(a, b)),
    averageBytes: round.reduce((sum, size) => sum + size, 0) / round.length,
  };
}

function checkSize(size: number): number {
  if (Number.isInteger(size) && size >= SIZE.min && size <= SIZE.max) return size;
  throw bad(`${describeValue(size)}`, `whole numbers of bytes from ${SIZE.min} to ${SIZE.max}, FCS included`);
}

function bad(what: string, possible: string): NicError {
  return new NicError('BAD_OPTION', `size is ${what}`, { hint: `Give ${possible}.` });
}

/** Chooses the size of one frame after the other. */
export class SizeSequence {
  readonly #round: Uint16Array;
  readonly #random: boolean;
  #next = 0;
  #state: number;

  constructor(sizes: FrameSizes, seed: number) {
    this.#round = sizes.round;
    this.#random = sizes.random;
    this.#state = mixSeed(seed, 0x51_2e);
  }

  /** Length of the next frame without FCS. Allocates nothing. */
  next(): number {
    const { length } = this.#round;
    if (length === 1) return this.#round[0]!;
    if (this.#random) {
      this.#state = nextRandom(this.#state);
      return this.#round[Math.floor(unitOf(this.#state) * length)]!;
    }
    const at = this.#next;
    this.#next = at + 1 === length ? 0 : at + 1;
    return this.#round[at]!;
  }
}
