/** The bytes of each message, against the tables of the vfio-user specification 0.9.1 and linux/vfio.h. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { NicError } from '../../../src/errors.js';
import * as protocol from '../../../src/vfio/user/protocol.js';
import { suite } from '../../support/suite.js';

const EINVAL = 22;

function bytes(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ''), 'hex'));
}

function hex(body: Uint8Array): string {
  return Buffer.from(body).toString('hex');
}

function assertMalformed(action: () => unknown): void {
  try {
    action();
  } catch (error) {
    assert.instance(error, NicError);
    assert.is((error as NicError).code, 'PROTOCOL');
    assert.is((error as NicError).errno, -EINVAL);
    return;
  }
  assert.unreachable('was accepted');
}

const header = suite('vfio-user header');

header('of a command, without a reply wanted', () => {
  const message = protocol.encodeCommand(0x1234, protocol.Command.REGION_WRITE, bytes('aabb'), true);
  // id, command 10, 18 bytes, flags: command (0) and bit 4, error
  assert.is(hex(message), hex(bytes('3412 0a00 12000000 10000000 00000000 aabb')));
  assert.equal(protocol.decodeHeader(message), {
    id: 0x1234,
    command: 10,
    sizeBytes: 18,
    type: 0,
    noReply: true,
    error: false,
    errno: 0,
  });
});

header('of a reply and of an error reply', () => {
  assert.is(hex(protocol.encodeReply(1, 13)), hex(bytes('0100 0d00 10000000 01000000 00000000')));
  const error = protocol.encodeErrorReply(0xffff, 3, 2);
  assert.is(hex(error), hex(bytes('ffff 0300 10000000 21000000 02000000')));
  const decoded = protocol.decodeHeader(error);
  assert.is(decoded.error, true);
  assert.is(decoded.errno, 2);
  assert.is(decoded.type, protocol.MessageType.REPLY);
});

header('command numbers are the specification’s', () => {
  assert.equal(protocol.Command, {
    VERSION: 1,
    DMA_MAP: 2,
    DMA_UNMAP: 3,
    DEVICE_GET_INFO: 4,
    DEVICE_GET_REGION_INFO: 5,
    DEVICE_GET_REGION_IO_FDS: 6,
    DEVICE_GET_IRQ_INFO: 7,
    DEVICE_SET_IRQS: 8,
    REGION_READ: 9,
    REGION_WRITE: 10,
    DMA_READ: 11,
    DMA_WRITE: 12,
    DEVICE_RESET: 13,
    REGION_WRITE_MULTI: 15,
  });
});

header.run();

const version = suite('vfio-user VERSION');

function versionBody(json: string): Uint8Array {
  return Uint8Array.from([0, 0, 2, 0, ...Buffer.from(json)]);
}

version('has the numbers and JSON with a final NUL', () => {
  const body = protocol.encodeVersion({
    major: 0,
    minor: 2,
    capabilities: { maxMessageFds: 8, maxTransferBytes: 4096, maxDmaMaps: 16, pageSizesBytes: 4096 },
  });
  assert.is(hex(body.subarray(0, 4)), '00000200');
  assert.is(body.at(-1), 0);
  assert.equal(JSON.parse(Buffer.from(body.subarray(4, -1)).toString()), {
    capabilities: { max_msg_fds: 8, max_data_xfer_size: 4096, max_dma_maps: 16, pgsizes: 4096 },
  });
  assert.is(protocol.decodeVersion(body).capabilities.maxDmaMaps, 16);
});

version('carries what is not of the specification only where it is said', () => {
  const body = protocol.encodeVersion({
    major: 0,
    minor: 0,
    capabilities: { ...protocol.DEFAULT_CAPABILITIES, trappedReads: 1 },
  });
  assert.match(Buffer.from(body.subarray(4)).toString(), /"x_barewire_trapped_reads":1/);
  assert.is(protocol.decodeVersion(body).capabilities.trappedReads, 1);
});

version('has defaults for what is absent and ignores what is unknown', () => {
  const defaults = { maxMessageFds: 1, maxTransferBytes: 1048576, maxDmaMaps: 65535, pageSizesBytes: 4096 };
  assert.equal(protocol.decodeVersion(bytes('00000200')), { major: 0, minor: 2, capabilities: defaults });
  const json =
    '{"capabilities":{"migration":{"pgsize":4096},"twin_socket":{"supported":true},"max_msg_fds":3}}\0';
  assert.equal(protocol.decodeVersion(versionBody(json)).capabilities, { ...defaults, maxMessageFds: 3 });
  assert.equal(protocol.decodeVersion(versionBody('{}\0')).capabilities, defaults);
});

version('is refused where the JSON is cut, not an object, or a count is none', () => {
  for (const json of [
    '{}',
    '{\0',
    '[]\0',
    'null\0',
    '\0',
    '{"capabilities":3}\0',
    '{"capabilities":{"max_msg_fds":"8"}}\0',
    '{"capabilities":{"max_data_xfer_size":-1}}\0',
    '{"capabilities":{"pgsizes":1e300}}\0',
  ]) {
    assertMalformed(() => protocol.decodeVersion(versionBody(json)));
  }
  assertMalformed(() => protocol.decodeVersion(Uint8Array.from([0, 0, 0, 0, 0xff, 0xfe, 0])));
  assertMalformed(() => protocol.decodeVersion(bytes('000000')));
});

version.run();

const bodies = suite('vfio-user bodies');

bodies('DMA_MAP', () => {
  const map = { flags: 3, offset: 0x1000n, iova: 0xfedcba9876543000n, sizeBytes: 0x200000n };
  const body = protocol.encodeDmaMap(map);
  assert.is(hex(body), hex(bytes('20000000 03000000 0010000000000000 00305476 98badcfe 0000200000000000')));
  assert.equal(protocol.decodeDmaMap(body), map);
  assertMalformed(() => protocol.decodeDmaMap(body.subarray(1)));
  assertMalformed(() => protocol.decodeDmaMap(Uint8Array.from([...body, 0])));
  body[0] = 31;
  assertMalformed(() => protocol.decodeDmaMap(body));
});

bodies('DMA_UNMAP', () => {
  const unmap = { flags: 2, iova: 0x3000n, sizeBytes: 0x1000n };
  const body = protocol.encodeDmaUnmap(unmap);
  assert.is(hex(body), hex(bytes('18000000 02000000 0030000000000000 0010000000000000')));
  assert.equal(protocol.decodeDmaUnmap(body), unmap);
  assertMalformed(() => protocol.decodeDmaUnmap(body.subarray(0, 23)));
  assertMalformed(() => protocol.decodeDmaUnmap(Uint8Array.from([...body, 0])));
});

bodies('DEVICE_GET_INFO', () => {
  const info = { flags: 3, regionCount: 9, irqCount: 5 };
  const body = protocol.encodeDeviceInfo(info);
  assert.is(hex(body), hex(bytes('10000000 03000000 09000000 05000000')));
  assert.equal(protocol.decodeDeviceInfo(body), info);
  assertMalformed(() => protocol.decodeDeviceInfo(body.subarray(0, 12)));
});

bodies('DEVICE_GET_IRQ_INFO', () => {
  const info = { flags: 1, index: 2, count: 64 };
  const body = protocol.encodeIrqInfo(info);
  assert.is(hex(body), hex(bytes('10000000 01000000 02000000 40000000')));
  assert.equal(protocol.decodeIrqInfo(body), info);
  assertMalformed(() => protocol.decodeIrqInfo(body.subarray(0, 12)));
});

bodies('DEVICE_SET_IRQS', () => {
  const set = { flags: 0x22, index: 1, start: 2, count: 3, data: bytes('010001') };
  const body = protocol.encodeSetIrqs(set);
  assert.is(hex(body), hex(bytes('17000000 22000000 01000000 02000000 03000000 010001')));
  assert.equal(protocol.decodeSetIrqs(body), set);
  assertMalformed(() => protocol.decodeSetIrqs(body.subarray(0, 19)));
});

bodies('REGION_READ and REGION_WRITE', () => {
  const range = { offset: 0x123456789, index: 7, count: 4 };
  assert.is(hex(protocol.encodeRegionRange(range)), hex(bytes('8967452301000000 07000000 04000000')));
  assert.equal(protocol.decodeRegionRange(protocol.encodeRegionRange(range)), range);
  const body = protocol.encodeRegionRange(range, bytes('deadbeef'));
  assert.equal(protocol.decodeRegionData(body), { ...range, data: bytes('deadbeef') });
  assertMalformed(() => protocol.decodeRegionRange(body));
  assertMalformed(() => protocol.decodeRegionData(body.subarray(0, 19)));
  assertMalformed(() => protocol.decodeRegionData(body.subarray(0, 15)));
  body[6] = 0x10;
  assertMalformed(() => protocol.decodeRegionData(body));
});

bodies('DMA_READ and DMA_WRITE', () => {
  const range = { iova: 0xffff000000001000n, count: 2 };
  const body = protocol.encodeDmaRange(range, bytes('0102'));
  assert.is(hex(body), hex(bytes('001000000000ffff 0200000000000000 0102')));
  assert.equal(protocol.decodeDmaData(body), { ...range, data: bytes('0102') });
  assert.equal(protocol.decodeDmaRange(body.subarray(0, 16)), range);
  assertMalformed(() => protocol.decodeDmaData(body.subarray(0, 17)));
  assertMalformed(() => protocol.decodeDmaRange(body));
});

bodies.run();

const region = suite('vfio-user DEVICE_GET_REGION_INFO');
const areas = [
  { offset: 0x1000, sizeBytes: 0x2000 },
  { offset: 0x8000, sizeBytes: 0x1000 },
];
const info = { flags: 7, index: 0, sizeBytes: 0x10000, offset: 0x100000, areas };
/** Laid out by hand: the structure, then capability 1 version 1 without a next, two areas. */
const INFO_HEX =
  '50000000 0f000000 00000000 20000000 0000010000000000 0000100000000000' +
  '0100 0100 00000000 02000000 00000000' +
  '0010000000000000 0020000000000000 0080000000000000 0010000000000000';

region('with areas', () => {
  assert.is(hex(protocol.encodeRegionInfo(info, 4096)), hex(bytes(INFO_HEX)));
  assert.equal(protocol.decodeRegionInfo(bytes(INFO_HEX)), { ...info, flags: 15 });
});

region('names the size to ask again with where the areas do not fit', () => {
  const short = protocol.encodeRegionInfo(info, 79);
  assert.is(short.length, 32);
  assert.is(new DataView(short.buffer).getUint32(0, true), 80);
  assert.is(new DataView(short.buffer).getUint32(4, true) & 8, 0);
  assert.is(protocol.encodeRegionInfo(info, 80).length, 80);
  // a reply that is not all there is not used
  assertMalformed(() => protocol.decodeRegionInfo(short));
});

region('without areas', () => {
  const whole = { ...info, areas: undefined };
  assert.is(protocol.encodeRegionInfo(whole, 32).length, 32);
  assert.equal(protocol.decodeRegionInfo(protocol.encodeRegionInfo(whole, 32)), whole);
});

region('skips other capabilities', () => {
  const body = bytes(`${INFO_HEX} 0500 0100 20000000`);
  body[0] = body.length;
  body[12] = 80;
  assert.equal(protocol.decodeRegionInfo(body).areas, areas);
});

region('is refused with a capability outside the body, a loop of them, or areas outside the region', () => {
  const patched = (at: number, value: number) => {
    const body = bytes(INFO_HEX);
    body[at] = value;
    return () => protocol.decodeRegionInfo(body);
  };
  assertMalformed(patched(12, 16));
  assertMalformed(patched(12, 76));
  assertMalformed(patched(13, 1));
  assertMalformed(patched(40, 3));
  assertMalformed(patched(43, 0xff));
  assertMalformed(patched(54, 1));
  assertMalformed(patched(59, 1));
  assertMalformed(patched(55, 0x10));
  assertMalformed(patched(23, 0x10));
  const loop = bytes(INFO_HEX);
  loop.set(bytes('0500 0100 20000000'), 32);
  assertMalformed(() => protocol.decodeRegionInfo(loop));
});

region('request', () => {
  const body = protocol.encodeRegionInfoRequest(6, 4096);
  assert.is(body.length, 32);
  assert.equal(protocol.decodeRegionInfoRequest(body), { argsz: 4096, index: 6 });
  assertMalformed(() => protocol.decodeRegionInfoRequest(protocol.encodeRegionInfoRequest(6, 31)));
  assertMalformed(() => protocol.decodeRegionInfoRequest(body.subarray(4)));
});

region.run();

const property = suite('vfio-user decoders');
const decoders = {
  decodeVersion: protocol.decodeVersion,
  decodeDmaMap: protocol.decodeDmaMap,
  decodeDmaUnmap: protocol.decodeDmaUnmap,
  decodeDeviceInfo: protocol.decodeDeviceInfo,
  decodeRegionInfoRequest: protocol.decodeRegionInfoRequest,
  decodeRegionInfo: protocol.decodeRegionInfo,
  decodeIrqInfo: protocol.decodeIrqInfo,
  decodeSetIrqs: protocol.decodeSetIrqs,
  decodeRegionRange: protocol.decodeRegionRange,
  decodeRegionData: protocol.decodeRegionData,
  decodeDmaRange: protocol.decodeDmaRange,
  decodeDmaData: protocol.decodeDmaData,
};

property('take any bytes, or refuse them with EINVAL', () => {
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 96 }),
    fc.tuple(fc.nat(79), fc.nat(255)).map(([at, value]) => {
      const mutated = bytes(INFO_HEX);
      mutated[at] = value;
      return mutated;
    }),
  );
  fc.assert(
    fc.property(fc.constantFrom(...Object.values(decoders)), body, (decode, input) => {
      try {
        decode(input);
      } catch (error) {
        assert.instance(error, NicError);
        assert.is((error as NicError).errno, -EINVAL);
      }
    }),
    { numRuns: 2000 },
  );
});

property('areas that are accepted lie in the region', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(79), fc.nat(255)), { maxLength: 3 }), (patches) => {
      const body = bytes(INFO_HEX);
      for (const [at, value] of patches) body[at] = value;
      let decoded: protocol.RegionInfo;
      try {
        decoded = protocol.decodeRegionInfo(body);
      } catch {
        return;
      }
      for (const area of decoded.areas ?? []) {
        assert.ok(area.offset >= 0 && area.offset + area.sizeBytes <= decoded.sizeBytes);
      }
    }),
    { numRuns: 2000 },
  );
});

property.run();
