/** Checksums: the examples of RFC 1071 and RFC 1624, a plain sum of the test's own, frames made by scapy. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { readU16, readU32, writeU16, writeU32 } from '../../src/packet/bytes.js';
import {
  checksumOf,
  fold,
  internetChecksum,
  pseudoSumIpv4,
  pseudoSumIpv6,
  replaceU16,
  replaceU32,
  sumOf,
  udpChecksumOf,
  updateChecksum,
  updateUdpChecksum,
} from '../../src/packet/checksum.js';
import { ipv4ChecksumState, l4ChecksumState, writeChecksums } from '../../src/packet/frame-checksums.js';
import { Layer, PacketView } from '../../src/packet/packet-view.js';
import { parse } from '../../src/packet/parse.js';
import { buildUdp } from '../../src/packet/transport-builder.js';
import { suite } from '../support/suite.js';
import { PORTS, V4, V6, VECTORS, vector } from './scapy-frames.js';

/** One's complement addition by the book, word by word (RFC 1071): the sum's bits inverted. */
function reference(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += bytes[i]! * 256 + (bytes[i + 1] ?? 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return 0xffff - sum;
}

const primitives = suite('checksum');

primitives('the example of RFC 1071, section 3', () => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  assert.is(sumOf(bytes, 0, 8), 0x2ddf0);
  assert.is(fold(0x2ddf0), 0xddf2);
  assert.is(internetChecksum(bytes, 0, 8), 0x220d);
});

primitives('the example of RFC 1624, section 4: not 0xffff', () => {
  assert.is(updateChecksum(0xdd2f, 0x5555, 0x3285), 0x0000);
});

primitives('any bytes, also an odd number of them, also in parts', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000 }), fc.nat(3000), (bytes, cut) => {
      assert.is(internetChecksum(bytes, 0, bytes.length), reference(bytes));
      const even = Math.min(cut & ~1, bytes.length & ~1);
      assert.is(internetChecksum(bytes, even, bytes.length, sumOf(bytes, 0, even)), reference(bytes));
    }),
  );
});

primitives('long ranges and huge sums stay exact', () => {
  const bytes = new Uint8Array(1 << 20).fill(0xff);
  assert.is(sumOf(bytes, 0, bytes.length), 0xffff * (1 << 19));
  assert.is(internetChecksum(bytes, 0, bytes.length), 0);
  fc.assert(
    fc.property(fc.maxSafeNat(), (sum) => {
      const expected = sum === 0 ? 0 : Number(BigInt(sum) % 0xffffn) || 0xffff;
      assert.is(fold(sum), expected);
      assert.is(checksumOf(sum), 0xffff - expected);
    }),
  );
});

primitives('UDP: 0 is sent as 0xffff', () => {
  assert.is(checksumOf(0xffff), 0);
  assert.is(udpChecksumOf(0xffff), 0xffff);
  assert.is(udpChecksumOf(0xfffe), 1);
});

primitives('an update is what a new sum gives', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 2, maxLength: 60 }),
      fc.nat(59),
      fc.oneof(fc.nat(0xffff), fc.constantFrom(0, 0xffff)),
      (bytes, place, value) => {
        const at = Math.min(place, bytes.length - 2) & ~1;
        // All zeros is the one sum with two forms; no packet is.
        fc.pre(bytes.some((byte, i) => byte !== 0 && i !== at && i !== at + 1));
        const before = internetChecksum(bytes, 0, bytes.length);
        const removed = readU16(bytes, at);
        writeU16(bytes, at, value);
        const after = internetChecksum(bytes, 0, bytes.length);
        assert.is(updateChecksum(before, removed, value), after);
        const asUdp = updateUdpChecksum(before || 0xffff, removed, value);
        assert.is(asUdp, after || 0xffff);
      },
    ),
    { numRuns: 2000 },
  );
  assert.is(updateUdpChecksum(0, 1, 2), 0, 'no checksum stays no checksum');
});

primitives('several words at once', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 20, maxLength: 20 }),
      fc.uint8Array({ minLength: 8, maxLength: 8 }),
      (bytes, words) => {
        fc.pre(bytes.slice(12).some((byte) => byte !== 0));
        const before = internetChecksum(bytes, 0, 20);
        const removed = sumOf(bytes, 4, 12);
        bytes.set(words, 4);
        assert.is(updateChecksum(before, removed, sumOf(bytes, 4, 12)), internetChecksum(bytes, 0, 20));
      },
    ),
  );
});

primitives.run();

const fields = suite('fields with checksums');

fields('IPv4: a time to live and addresses that are replaced in place', () => {
  fc.assert(
    fc.property(fc.nat(255), fc.nat(0xffff_ffff), fc.nat(0xffff_ffff), (ttl, source, destination) => {
      const frame = vector('udp');
      replaceU16(frame, 22, (ttl << 8) | 17, 24);
      replaceU32(frame, 26, source, 24);
      replaceU32(frame, 30, destination, 24);
      assert.is(reference(frame.slice(14, 34)), 0);
      assert.equal([frame[22], readU32(frame, 26), readU32(frame, 30)], [ttl, source, destination]);
    }),
  );
});

fields('the pseudo headers of RFC 768 and RFC 8200', () => {
  const udp4 = vector('udp');
  assert.is(sumOf(udp4, 34, 47, pseudoSumIpv4(udp4, 14, 17, 13)) % 0xffff, 0);
  const udp6 = vector('udp6');
  assert.is(sumOf(udp6, 54, 67, pseudoSumIpv6(udp6, 14, 17, 13)) % 0xffff, 0);
});

fields('32 bits there and back', () => {
  const bytes = new Uint8Array(6);
  for (const value of [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x0102_0304]) {
    writeU32(bytes, 1, value);
    assert.is(readU32(bytes, 1), value);
    assert.is(new DataView(bytes.buffer).getUint32(1), value);
  }
});

fields.run();

const frames = suite('checksums of frames');

function viewOf(frame: Uint8Array): PacketView {
  const view = new PacketView();
  parse(frame, 0, frame.length, view);
  return view;
}

/** What cannot be told: the vectors that are fragments. */
const FRAGMENTS = ['ip fragment', 'ip6 fragment'];

for (const { name, hex } of VECTORS) {
  frames(
    `${name}: those that scapy wrote are good, any other value is bad, and they are written again`,
    () => {
      const frame = Uint8Array.from(Buffer.from(hex, 'hex'));
      const view = viewOf(frame);
      const isIp = view.has(Layer.IPV4);
      assert.is(ipv4ChecksumState(view), isIp ? 'good' : 'absent');
      const l4 = name.startsWith('arp') ? 'absent' : FRAGMENTS.includes(name) ? 'unknown' : 'good';
      assert.is(l4ChecksumState(view), l4);
      const checksumAt = view.l4Offset + (view.has(Layer.UDP) ? 6 : view.has(Layer.TCP) ? 16 : 2);
      const broken = frame.slice();
      if (isIp) broken[view.l3Offset + 10]! ^= 0x10;
      if (l4 === 'good') broken[checksumAt]! ^= 0x01;
      const brokenView = viewOf(broken);
      assert.is(ipv4ChecksumState(brokenView), isIp ? 'bad' : 'absent');
      assert.is(l4ChecksumState(brokenView), l4 === 'good' ? 'bad' : l4);
      assert.is(writeChecksums(brokenView), l4 !== 'unknown');
      assert.equal(broken, frame);
    },
  );
}

frames('a UDP checksum of 0 is none over IPv4 and wrong over IPv6', () => {
  for (const [options, state] of [
    [V4, 'absent'],
    [V6, 'bad'],
  ] as const) {
    const frame = buildUdp({ ...options, ...PORTS });
    const view = viewOf(frame);
    writeU16(frame, view.l4Offset + 6, 0);
    assert.is(l4ChecksumState(view), state);
  }
});

frames('what lies behind the packet does not count, what lies in it does', () => {
  const frame = vector('udp');
  frame[59] = 0xff;
  assert.is(l4ChecksumState(viewOf(frame)), 'good', 'padding');
  frame[46]! ^= 0xff;
  assert.is(l4ChecksumState(viewOf(frame)), 'bad', 'last byte of the payload');
});

frames('unknown where bytes are missing, and where a routing header hides the destination', () => {
  const cut = vector('tcp data').slice(0, 70);
  assert.is(l4ChecksumState(viewOf(cut)), 'unknown');
  assert.is(ipv4ChecksumState(viewOf(cut)), 'good');
  const before = cut.slice();
  assert.is(writeChecksums(viewOf(cut)), false);
  assert.equal(cut, before);
  const body = new Uint8Array(22);
  body[1] = 1; // one stop is left
  const routed = buildUdp({ ...V6, ...PORTS, extensionHeaders: [{ type: 43, body }] });
  assert.is(l4ChecksumState(viewOf(routed)), 'unknown');
  routed[14 + 40 + 3] = 0;
  assert.is(l4ChecksumState(viewOf(routed)), 'good');
});

frames.run();
