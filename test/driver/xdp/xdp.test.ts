/** Addresses of interfaces, the program, structures of the kernel's, and what `open` refuses before it needs rights. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { normalizeAddress, open } from '../../../src/driver/registry.js';
import { instruction } from '../../../src/driver/xdp/bpf-assembler.js';
import { parseOffsets } from '../../../src/driver/xdp/kernel-ring.js';
import { redirectProgram } from '../../../src/driver/xdp/redirect-program.js';
import { parseStatistics, socketAddress, umemReg } from '../../../src/driver/xdp/uapi.js';
import { parseXdpAddress } from '../../../src/driver/xdp/xdp.js';
import { frameRoom } from '../../../src/driver/xdp/xdp-socket.js';
import { NicError } from '../../../src/errors.js';
import { expectError, expectRejection } from '../../support/expect-error.js';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

const addresses = suite('AF_XDP addresses');

addresses('an interface, with or without a queue', () => {
  assert.equal(parseXdpAddress('eth0'), { name: 'eth0', queue: 0 });
  assert.equal(parseXdpAddress('enp3s0f1np1/12'), { name: 'enp3s0f1np1', queue: 12 });
  assert.is(normalizeAddress('xdp:eth0/1'), 'xdp:eth0/1');
});

for (const rest of [
  'eth 0',
  'eth0/',
  'eth0/x',
  'eth0/-1',
  'eth0/1/2',
  '/1',
  '..',
  'a-name-of-16-byte',
  'eth0\n',
]) {
  addresses(`${JSON.stringify(rest)} is none`, async () => {
    const error = expectError('BAD_ADDRESS', () => parseXdpAddress(rest));
    assert.match(error.hint!, 'xdp:eth0');
    await expectRejection('BAD_ADDRESS', open(`xdp:${rest}`));
  });
}

addresses('an interface that is not there, or no right to ask: said so', async () => {
  try {
    await open('xdp:no-such-if');
    assert.unreachable();
  } catch (error) {
    assert.instance(error, NicError);
    const { code, hint } = error as NicError;
    assert.ok(code === 'NO_SUCH_DEVICE' || code === 'NO_PERMISSION', code);
    assert.match(hint!, code === 'NO_SUCH_DEVICE' ? 'ip link' : 'CAP_NET_RAW');
  }
});

addresses.run();

const structures = suite('AF_XDP structures');

// As `llvm-objdump` and the kernel's documentation print them: code, registers, offset, immediate.
structures('the program: redirect by queue, else pass', () => {
  assert.is(
    hex(redirectProgram(0x1234)),
    [
      '6112100000000000',
      '1811000034120000',
      '0000000000000000',
      'b703000002000000',
      '8500000033000000',
      '9500000000000000',
    ].join(''),
  );
  assert.is(hex(instruction(0x61, 2, 1, -2, -1)), '6112feffffffffff');
});

structures('struct xdp_umem_reg, struct sockaddr_xdp', () => {
  assert.is(
    hex(umemReg(0x7f00_0000_1000n, 0x20_0000, 2048, 64)),
    '00100000007f0000' + '0000200000000000' + '00080000' + '40000000' + '01000000' + '00000000',
  );
  assert.is(hex(socketAddress(7, 3)), '2c000a00' + '07000000' + '03000000' + '00000000');
});

structures('struct xdp_mmap_offsets, struct xdp_statistics', () => {
  const words = BigUint64Array.from({ length: 16 }, (_, i) => BigInt(i + 1));
  const [rx, , , completion] = parseOffsets(new Uint8Array(words.buffer));
  assert.equal(rx, { producer: 1, consumer: 2, descriptors: 3, flags: 4 });
  assert.equal(completion, { producer: 13, consumer: 14, descriptors: 15, flags: 16 });
  assert.equal(parseStatistics(new Uint8Array(words.buffer, 0, 48)), {
    rxDropped: 1,
    txInvalid: 3,
    rxRingFull: 4,
    fillRingEmpty: 5,
  });
});

structures('the longest frame of a buffer', () => {
  assert.equal([frameRoom(2048, 64), frameRoom(4096, 0), frameRoom(2048, 512)], [1792, 3840, 1536]);
});

structures.run();
