/**
 * Reads the core of the filter language of pcap-filter(7): `[not] [ether|ip|ip6|arp|tcp|udp|...] [src|dst]
 * [host|net|port|portrange|proto] ID`, `vlan`, `less`, `greater`, `broadcast`, `multicast`, joined by `and` and `or`.
 *
 * As there: `and` and `or` bind alike, from the left, and `not` binds tighter; an ID without qualifiers has those of the one
 * before it (`port 53 or 67`); what stands behind `vlan` looks at what is in the tag. Not taken are bytes by number
 * (`tcp[13]`), names of hosts, and what only a kernel knows (`inbound`).
 */
import { parseMac } from '../../packet/addresses.js';
import { type AddressId, addressId, multicastIp } from './address-ids.js';
import { ETHER_TYPES, IP_PROTOCOLS, SCTP } from './names.js';
import { numberId, portRange, protocolId } from './number-ids.js';
import type { Direction, Filter, Primitive } from './syntax.js';
import { filterError, type Token, tokens } from './tokens.js';

/** Tests in one filter. A tree of so many can be walked without care for the stack. */
const MAX_TESTS = 256;
const MAX_DEPTH = 64;
const MAX_VLAN_ID = 4095;
const MAX_LENGTH = 0xffff_ffff;
/** Tags that can be passed; each shifts what is looked at by 4 bytes. */
const MAX_VLAN_TAGS = 8;

const TYPES = ['host', 'net', 'port', 'portrange', 'proto'] as const;
type IdType = (typeof TYPES)[number];

interface Qualifiers {
  readonly protocol: string | undefined;
  readonly direction: Direction | undefined;
  readonly type: IdType;
}

const OTHER_KEYWORDS = ['ether', 'src', 'dst', 'vlan', 'less', 'greater', 'broadcast', 'multicast', 'mask'];
const KEYWORDS: ReadonlySet<string> = new Set([
  ...OTHER_KEYWORDS,
  ...TYPES,
  'and',
  'or',
  'not',
  '(',
  ')',
  '',
  ...ETHER_TYPES.keys(),
  ...IP_PROTOCOLS.keys(),
]);

/**
 * Reads a filter.
 * @throws NicError `BAD_OPTION`; the message names the character
 * @example parseFilter('udp port 53 and not host 10.0.0.1')
 */
export function parseFilter(text: string): Filter {
  return new Parser(text).whole();
}

class Parser {
  readonly #text: string;
  readonly #tokens: readonly Token[];
  #next = 0;
  #tests = 0;
  #depth = 0;
  #vlanTags = 0;
  /** Of the last ID: what an ID without any has. */
  #qualifiers: Qualifiers | undefined;

  constructor(text: string) {
    this.#text = text;
    this.#tokens = tokens(text);
  }

  whole(): Filter {
    if (this.#peek().text === '') throw this.#error(this.#peek(), 'there is nothing in it');
    const filter = this.#expression();
    const rest = this.#peek();
    if (rest.text !== '')
      throw this.#error(rest, `"${rest.text}" is not expected here`, 'Join tests by and, or.');
    return filter;
  }

  #expression(): Filter {
    let left = this.#term();
    for (;;) {
      const kind = this.#peek().text;
      if (kind !== 'and' && kind !== 'or') return left;
      this.#next++;
      left = { kind, left, right: this.#term() };
    }
  }

  #term(): Filter {
    const token = this.#peek();
    if (this.#take('not')) return this.#nested(token, () => ({ kind: 'not', operand: this.#term() }));
    if (this.#peek().text === '(') return this.#parentheses();
    if (++this.#tests > MAX_TESTS) throw this.#error(token, `it has more than ${MAX_TESTS} tests`);
    return this.#test();
  }

  #parentheses(): Filter {
    const opening = this.#advance();
    return this.#nested(opening, () => {
      const inner = this.#expression();
      if (this.#take(')')) return inner;
      throw this.#error(this.#peek(), `the parenthesis of character ${opening.at + 1} is not closed`);
    });
  }

  #nested(token: Token, read: () => Filter): Filter {
    if (++this.#depth > MAX_DEPTH) throw this.#error(token, `it is nested more than ${MAX_DEPTH} deep`);
    const inner = read();
    this.#depth--;
    return inner;
  }

  #test(): Filter {
    const token = this.#peek();
    if (isId(token))
      return this.#id(this.#qualifiers ?? { protocol: undefined, direction: undefined, type: 'host' });
    if (this.#take('vlan')) return this.#vlan(token);
    if (this.#take('less')) return this.#length(token, (bytes) => [0, bytes]);
    if (this.#take('greater')) return this.#length(token, (bytes) => [bytes, MAX_LENGTH]);
    const protocol = this.#protocol();
    if (this.#take('broadcast')) return this.#broadcast(token, protocol);
    if (this.#take('multicast')) return this.#multicast(token, protocol);
    const direction = this.#direction();
    const type = TYPES.find((name) => this.#take(name));
    if (direction === undefined && type === undefined) {
      if (protocol !== undefined && protocol !== 'ether') return this.#protocolTest(token, protocol);
      throw this.#unexpected();
    }
    this.#qualifiers = { protocol, direction, type: type ?? 'host' };
    return this.#peek().text === '(' ? this.#parentheses() : this.#id(this.#qualifiers);
  }

  /** `src`, `dst`, `src or dst`, `src and dst`. */
  #direction(): Direction | undefined {
    const first = this.#peek().text;
    if (first !== 'src' && first !== 'dst') return undefined;
    this.#next++;
    const joint = this.#peek().text;
    const other = first === 'src' ? 'dst' : 'src';
    if ((joint !== 'and' && joint !== 'or') || this.#tokens[this.#next + 1]?.text !== other) return first;
    // `src or dst port 7` has one direction; in `src 10.0.0.1 or dst 10.0.0.2` an ID stands between.
    this.#next += 2;
    return joint === 'or' ? 'either' : 'both';
  }

  #protocol(): string | undefined {
    const { text, quoted } = this.#peek();
    if (quoted || !(text === 'ether' || isProtocol(text))) return undefined;
    this.#next++;
    return text;
  }

  #protocolTest(token: Token, name: string): Primitive {
    const place = this.#place(token);
    const etherType = ETHER_TYPES.get(name);
    if (etherType !== undefined) return { kind: 'ether-type', etherType, ...place };
    const ipVersion = name === 'icmp' || name === 'igmp' ? 4 : name === 'icmp6' ? 6 : 0;
    return { kind: 'protocol', ipVersion, protocol: IP_PROTOCOLS.get(name)!, ...place };
  }

  #id(qualifiers: Qualifiers): Filter {
    const token = this.#peek();
    if (!isId(token) && !(qualifiers.type === 'proto' && isProtocol(token.text)))
      throw this.#unexpected(`a value for ${qualifiers.type}`);
    this.#next++;
    this.#qualifiers = qualifiers;
    switch (qualifiers.type) {
      case 'host':
      case 'net':
        return this.#address(token, qualifiers);
      case 'port':
      case 'portrange':
        return this.#port(token, qualifiers);
      case 'proto':
        return this.#protocolId(token, qualifiers);
    }
  }

  #address(token: Token, { protocol, direction = 'either', type }: Qualifiers): Primitive {
    const place = this.#place(token);
    if (protocol === 'ether') {
      if (type === 'net') throw this.#error(token, 'ether has hosts, no nets');
      return { kind: 'mac', direction, address: this.#read(token, parseMac), ...place };
    }
    if (protocol !== undefined && !['ip', 'ip6', 'arp'].includes(protocol))
      throw this.#error(token, `${protocol} has no ${type}`, `Write: ${protocol} and ${type} ${token.text}`);
    const mask = type === 'net' && this.#take('mask') ? this.#advance().text : undefined;
    const found: AddressId = this.#read(token, (text) => addressId(text, type === 'net', mask));
    const isIpv6 = found.address.length === 16;
    if (protocol !== undefined && isIpv6 !== (protocol === 'ip6'))
      throw this.#error(token, `${token.text} is no address of ${protocol}`, 'Leave the protocol out.');
    const inArp = !isIpv6 && protocol !== 'ip';
    return { kind: 'address', direction, ...found, inIpv4: !isIpv6 && protocol !== 'arp', inArp, ...place };
  }

  #port(token: Token, { protocol, direction = 'either', type }: Qualifiers): Primitive {
    const number = protocol === undefined ? 0 : IP_PROTOCOLS.get(protocol);
    if (number !== 0 && number !== 6 && number !== 17 && number !== SCTP)
      throw this.#error(token, `${protocol} has no ports`, 'Ports have tcp, udp and sctp.');
    const [first, last] = this.#read(token, (text) => portRange(text, type === 'portrange'));
    return { kind: 'port', direction, protocol: number, first, last, ...this.#place(token) };
  }

  #protocolId(token: Token, { protocol, direction }: Qualifiers): Primitive {
    const place = this.#place(token);
    if (direction !== undefined) throw this.#error(token, 'a protocol has no src and dst');
    if (protocol === 'ether') {
      return {
        kind: 'ether-type',
        etherType: this.#read(token, (text) => protocolId(text, ETHER_TYPES, 0xffff)),
        ...place,
      };
    }
    if (protocol !== undefined && protocol !== 'ip' && protocol !== 'ip6')
      throw this.#error(token, `${protocol} has no proto`, 'It is for ether, ip and ip6.');
    const number = this.#read(token, (text) => protocolId(text, IP_PROTOCOLS, 0xff));
    return {
      kind: 'protocol',
      ipVersion: protocol === undefined ? 0 : protocol === 'ip' ? 4 : 6,
      protocol: number,
      ...place,
    };
  }

  #vlan(token: Token): Primitive {
    const place = this.#place(token);
    const id = /^[0-9]/.test(this.#peek().text)
      ? this.#read(this.#advance(), (text) => numberId(text, MAX_VLAN_ID))
      : undefined;
    if (++this.#vlanTags > MAX_VLAN_TAGS) throw this.#error(token, `it has more than ${MAX_VLAN_TAGS} vlan`);
    return { kind: 'vlan', id, ...place };
  }

  #length(token: Token, range: (bytes: number) => readonly [number, number]): Primitive {
    const value = this.#advance();
    const [minBytes, maxBytes] = range(this.#read(value, (text) => numberId(text, MAX_LENGTH)));
    return { kind: 'length', minBytes, maxBytes, ...this.#place(token) };
  }

  #broadcast(token: Token, protocol: string | undefined): Primitive {
    if (protocol !== undefined && protocol !== 'ether')
      throw this.#error(
        token,
        `the broadcast addresses of ${protocol} depend on the network`,
        'Write: ether broadcast',
      );
    return { kind: 'mac', direction: 'dst', address: new Uint8Array(6).fill(0xff), ...this.#place(token) };
  }

  #multicast(token: Token, protocol: string | undefined): Primitive {
    const place = this.#place(token);
    if (protocol === undefined || protocol === 'ether') return { kind: 'mac-group', ...place };
    if (protocol !== 'ip' && protocol !== 'ip6') throw this.#error(token, `${protocol} has no multicast`);
    const inIpv4 = protocol === 'ip';
    return { kind: 'address', direction: 'dst', ...multicastIp(protocol), inIpv4, inArp: false, ...place };
  }

  #place({ at }: Token): { vlanTags: number; at: number } {
    return { vlanTags: this.#vlanTags, at };
  }

  /** Reads the value of a token. The reader throws an Error that says what is wrong with it. */
  #read<T>(token: Token, reader: (text: string) => T): T {
    try {
      return reader(token.text);
    } catch (error) {
      const { message, hint } = error as Error & { hint?: string };
      throw this.#error(token, message, hint);
    }
  }

  #peek(): Token {
    return this.#tokens[this.#next]!;
  }

  /** The next word, passed over. The end of the text stays where it is. */
  #advance(): Token {
    const token = this.#peek();
    if (token.text === '') throw this.#unexpected();
    this.#next++;
    return token;
  }

  #take(text: string): boolean {
    const token = this.#peek();
    if (token.text !== text || token.quoted) return false;
    this.#next++;
    return true;
  }

  #unexpected(wanted?: string): Error {
    const token = this.#peek();
    const missing = wanted === undefined ? 'something is missing' : `${wanted} is missing`;
    return this.#error(
      token,
      token.text === ''
        ? missing
        : `${wanted === undefined ? '' : `${missing}, `}"${token.text}" is not expected here`,
    );
  }

  #error({ at }: Token, what: string, hint?: string): Error {
    return filterError(this.#text, at, what, hint);
  }
}

/** A word that is no keyword: an address, a number, a name. */
function isId({ text, quoted }: Token): boolean {
  return quoted || !KEYWORDS.has(text);
}

function isProtocol(text: string): boolean {
  return ETHER_TYPES.has(text) || IP_PROTOCOLS.has(text);
}
