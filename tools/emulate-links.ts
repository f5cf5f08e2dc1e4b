/** What `barewire emulate` is told about its links: option values read, checked against each other, and described. */
import { InvalidArgumentError } from 'commander';
import type { EndDescription, LinkDescription } from '../src/emulator/topology.js';
import { NicError } from '../src/errors.js';

/** The options that are about links. */
export interface LinkOptions {
  readonly link?: readonly LinkKind[];
  readonly size?: number;
  readonly rate?: number;
  readonly count?: number;
  readonly flows?: number;
  readonly bandwidth?: number;
  readonly bottleneck?: number;
  readonly delay?: number;
  readonly loss?: number;
  readonly damage?: number;
  readonly duplicate?: number;
  readonly reorder?: number;
  readonly seed?: number;
  readonly lossless?: true;
  readonly capture?: string;
  readonly force?: true;
  readonly timing?: 'original' | 'burst';
  readonly loop?: number;
}

/** What is at the other end of a port's link. */
export type LinkKind =
  | { readonly kind: 'traffic' | 'cable' | 'none' }
  | { readonly kind: 'tap' | 'stream' | 'play' | 'record'; readonly name: string };

const FCS_BYTES = 4;
const DEFAULT_SIZE_BYTES = 64;

/** Option value: one more `--link`. */
export function collectLink(text: string, before: readonly LinkKind[] = []): LinkKind[] {
  return [...before, linkKind(text)];
}

function linkKind(text: string): LinkKind {
  if (text === 'traffic' || text === 'cable' || text === 'none') return { kind: text };
  const [, kind, name] = /^(tap|stream|play|record):(.+)$/.exec(text) ?? [];
  if (kind === undefined || name === undefined) {
    throw new InvalidArgumentError(
      'It must be traffic, cable, none, tap:NAME, stream:PATH, play:FILE or record:FILE.',
    );
  }
  return { kind: kind as 'tap', name };
}

/**
 * Describes the links of all ports.
 * @throws NicError `BAD_OPTION` where there are too many or too few of them, or an option would do nothing
 */
export function describeLinks(options: LinkOptions, ports: number): LinkDescription[] {
  const kinds = kindsOf(options.link ?? [{ kind: 'traffic' }], ports);
  refuseIdle(options, kinds);
  const links = kinds.flatMap((kind, nic): (readonly [EndDescription, EndDescription])[] => {
    if (kind.kind === 'none') return [];
    if (kind.kind !== 'cable') return [[{ nic }, farEnd(kind, nic, options)]];
    const other = partnerOf(kinds, nic);
    return other < nic ? [] : [[{ nic }, { nic: other }]];
  });
  return links.map((ends, i) => ({
    ends,
    ...(options.lossless === undefined ? {} : { flowControl: options.lossless }),
    ...cableOf(options),
    ...(options.capture === undefined ? {} : { capture: numbered(options.capture, i) }),
  }));
}

/** One kind for each port: the one that was given for all, or those given for each. */
function kindsOf(given: readonly LinkKind[], ports: number): LinkKind[] {
  if (given.length !== 1 && given.length !== ports) {
    throw new NicError('BAD_OPTION', `${given.length} links for ${ports} ports`, {
      hint: 'Give one --link for all ports, or one for each in order; --link none is for a port without.',
    });
  }
  const kinds = Array.from({ length: ports }, (_, port) => given[port] ?? given[0]!);
  const cabled = kinds.filter(({ kind }) => kind === 'cable').length;
  if (cabled % 2 !== 0) {
    throw new NicError(
      'BAD_OPTION',
      `${cabled} ${cabled === 1 ? 'port' : 'ports'} cannot be joined in pairs`,
      {
        hint: 'Give an even number of ports for --link cable.',
      },
    );
  }
  return kinds;
}

/** The port at the other end of a port's cable: the first and the second with a cable, the third and the fourth. */
function partnerOf(kinds: readonly LinkKind[], port: number): number {
  const cabled = kinds.flatMap(({ kind }, i) => (kind === 'cable' ? [i] : []));
  return cabled[cabled.indexOf(port) ^ 1]!;
}

/** Refuses what would be taken and do nothing. @throws NicError `BAD_OPTION` */
function refuseIdle(options: LinkOptions, kinds: readonly LinkKind[]): void {
  const given = (...names: (keyof LinkOptions)[]): string[] =>
    names.filter((name) => options[name] !== undefined).map((name) => `--${name}`);
  const refuse = (names: readonly string[], what: string, hint: string): void => {
    if (names.length === 0) return;
    const [verb, it] = names.length === 1 ? ['is', 'it'] : ['are', 'them'];
    throw new NicError('BAD_OPTION', `${names.join(' and ')} ${verb} for ${what}`, {
      hint: `Leave ${it} out, or ${hint}.`,
    });
  };
  const has = (...wanted: LinkKind['kind'][]): boolean => kinds.some(({ kind }) => wanted.includes(kind));
  if (!has('traffic')) {
    refuse(
      given('size', 'rate', 'count', 'flows'),
      '--link traffic, and no port has that',
      'give a port --link traffic',
    );
  }
  if (!has('play'))
    refuse(given('timing', 'loop'), '--link play:FILE, and no port has that', 'give a port --link play:FILE');
  if (!has('traffic', 'cable', 'tap', 'stream', 'play', 'record')) {
    const names = given(
      'bandwidth',
      'bottleneck',
      'delay',
      'loss',
      'damage',
      'duplicate',
      'reorder',
      'lossless',
      'capture',
    );
    refuse(names, 'links, and no port has one', 'give a port a --link');
  }
  if ((options.loss ?? options.damage ?? options.duplicate ?? options.reorder) === undefined)
    refuse(given('seed'), 'links that lose or damage frames', 'give --loss or --damage');
  if (options.capture === undefined && !has('record'))
    refuse(given('force'), 'files that are written', 'give --capture or --link record:FILE');
}

/** A link without any of these is memory to memory, which costs nothing. */
function cableOf(options: LinkOptions): Pick<LinkDescription, 'cable'> {
  const { bandwidth, bottleneck, delay, loss, damage, duplicate, reorder, seed } = options;
  if ((bandwidth ?? bottleneck ?? delay ?? loss ?? damage ?? duplicate ?? reorder) === undefined) return {};
  return {
    cable: {
      ...(bandwidth === undefined ? {} : { rateBitsPerSecond: bandwidth }),
      ...(bottleneck === undefined ? {} : { bottleneckBitsPerSecond: bottleneck }),
      ...(delay === undefined ? {} : { delayNs: delay }),
      ...(loss === undefined ? {} : { loss }),
      ...(damage === undefined ? {} : { damage }),
      ...(duplicate === undefined ? {} : { duplicate }),
      ...(reorder === undefined ? {} : { reorder }),
      ...(seed === undefined ? {} : { seed }),
    },
  };
}

function farEnd(link: LinkKind, port: number, options: LinkOptions): EndDescription {
  if (!('name' in link)) {
    return {
      traffic: {
        sizeBytes: (options.size ?? DEFAULT_SIZE_BYTES) - FCS_BYTES,
        ...(options.rate === undefined ? {} : { framesPerSecond: options.rate }),
        ...(options.count === undefined ? {} : { count: options.count }),
        ...(options.flows === undefined ? {} : { flows: options.flows, numberedByFlow: true }),
      },
    };
  }
  const name = numbered(link.name, port);
  switch (link.kind) {
    case 'tap':
      return { tap: name };
    case 'stream':
      return { stream: name };
    case 'play':
      return { play: name, repeat: options.loop ?? 1, originalTiming: options.timing === 'original' };
    case 'record':
      return { record: name };
  }
}

function numbered(name: string, number: number): string {
  return name.replaceAll('%d', String(number));
}
