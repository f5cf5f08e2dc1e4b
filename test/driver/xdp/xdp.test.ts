/** Addresses of interfaces, the program, structures of the kernel's, and what `open` refuses before it needs rights. */
import * as assert from 'uvu/assert';
import type { OpenOptions } from '../../../src/driver/device.js';
import { normalizeAddress, open } from '../../../src/driver/registry.js';
import { instruction } from '../../../src/driver/xdp/bpf-assembler.js';
import { frameRoom } from '../../../src/driver/xdp/buffers.js';
import { parseOffsets } from '../../../src/driver/xdp/kernel-ring.js';
import { redirectProgram } from '../../../src/driver/xdp/redirect-program.js';
import { parseStatistics, socketAddress, umemReg } from '../../../src/driver/xdp/uapi.js';
import { parseXdpAddress } from '../../../src/driver/xdp/xdp.js';
import { XdpDevice } from '../../../src/driver/xdp/xdp-device.js';
import { NicError } from '../../../src/errors.js';
import { expectError, expectRejection } from '../../support/expect-error.js';
import { suite } from '../../support/suite.js';
import { FakeKernel } from '../../support/xdp/fake-kernel.js';

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
  for (const [mode, flags] of [
    ['auto', '08'],
    ['copy', '0a'],
    ['zero-copy', '0c'],
  ] as const) {
    assert.is(hex(socketAddress(7, 3, mode)), `2c00${flags}00${'07000000'}${'03000000'}${'00000000'}`);
  }
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

const device = suite('AF_XDP device');

device('says in its model, and by a warning, that the program runs in general code', async () => {
  for (const mode of ['native', 'generic'] as const) {
    const warnings: string[] = [];
    const listen = (warning: Error & { code?: string }): void => {
      if (warning.code === 'BAREWIRE_GENERIC_XDP') warnings.push(warning.message);
    };
    process.on('warning', listen);
    const nic = await new XdpDevice('xdp:fake0', new FakeKernel({ mode }), 0, { pageSize: '4K' }).start();
    assert.match(nic.model, `copy mode, ${mode} program`);
    await nic.close();
    await new Promise((resolve) => setImmediate(resolve));
    process.off('warning', listen);
    assert.is(warnings.length, mode === 'generic' ? 1 : 0);
    if (mode === 'generic') assert.match(warnings[0]!, 'The driver of fake0 (fake) runs no XDP program');
  }
});

device('takes zero-copy where the driver has it, and the mode that is insisted on', async () => {
  const opened = async (kernel: FakeKernel, options: OpenOptions = {}) => {
    const nic = await new XdpDevice('xdp:fake0', kernel, 0, { pageSize: '4K', ...options }).start();
    const { model } = nic;
    await nic.close();
    return model.replace(/.*AF_XDP (.*) mode.*/, '$1');
  };
  const driver = { zeroCopy: true };
  assert.is(await opened(new FakeKernel(driver)), 'zero-copy');
  assert.is(await opened(new FakeKernel(driver), { interfaceMode: 'copy' }), 'copy');
  assert.is(await opened(new FakeKernel()), 'copy');
  // A program in general code would have the kernel copy into buffers that only the hardware fills.
  assert.is(await opened(new FakeKernel({ ...driver, mode: 'generic' })), 'copy');
  const insists = { interfaceMode: 'zero-copy' } as const;
  await expectRejection('BAD_OPTION', opened(new FakeKernel({ ...driver, mode: 'generic' }), insists));
  const ixgbe = { ...driver, kernelDriver: 'ixgbe' };
  assert.is(await opened(new FakeKernel(ixgbe)), 'zero-copy');
  assert.is(await opened(new FakeKernel(ixgbe), { bufferSizeBytes: 2048 }), 'copy');
  const small = expectRejection(
    'BAD_OPTION',
    opened(new FakeKernel(ixgbe), { ...insists, bufferSizeBytes: 2048 }),
  );
  assert.match((await small).message, 'lose frames over 1024 bytes');
});

device('stats() says the mode and the program, also when it is closed', async () => {
  for (const [options, expected] of [
    [{}, ['copy', 'native']],
    [{ mode: 'generic', zeroCopy: true }, ['copy', 'generic']],
    [{ zeroCopy: true }, ['zero-copy', 'native']],
  ] as const) {
    const nic = await new XdpDevice('xdp:fake0', new FakeKernel(options), 0, { pageSize: '4K' }).start();
    const ways = (): unknown[] => [nic.stats().interfaceMode, nic.stats().interfaceProgram];
    assert.equal(ways(), [...expected]);
    await nic.close();
    assert.equal(ways(), [...expected]);
  }
});

device('who asks when the interface is gone is told as well', async () => {
  const kernel = new FakeKernel();
  const nic = await new XdpDevice('xdp:fake0', kernel, 0, { pageSize: '4K' }).start();
  const gone = new NicError('DEVICE_GONE', 'planted');
  kernel.end(gone);
  const told: unknown[] = [];
  const deaf = nic.onGone(() => told.push('deaf'));
  deaf();
  nic.onGone((error) => told.push(error));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(told, [gone]);
  await nic.close();
});

device('options of the wrong kind are refused', async () => {
  for (const options of [{ interfaceMode: 'fast' }, { busyPollUs: 0 }, { busyPollUs: 1.5 }] as object[]) {
    await expectRejection('BAD_OPTION', open('xdp:fake0', options as OpenOptions));
  }
  const kernel = new FakeKernel();
  const nic = await new XdpDevice('xdp:fake0', kernel, 0, { pageSize: '4K', busyPollUs: 20 }).start();
  assert.is(kernel.sockets[0]!.busyPollUs, 20);
  await nic.close();
});

device('an MTU whose frames no buffer holds is refused, and what would help is said', async () => {
  const open = (mtu: number, options: OpenOptions) =>
    new XdpDevice('xdp:fake0', new FakeKernel({ mtu }), 0, { pageSize: '4K', ...options });
  expectError('BAD_OPTION', () => open(9000, {}), /frames of up to 9014 bytes/);
  expectError('BAD_OPTION', () => open(2000, { bufferSizeBytes: 2048 }), /holds 1792 of a frame/);
  expectError('BAD_OPTION', () => open(1500, { bufferSizeBytes: 8192 }), /cannot use buffers of 8192 bytes/);
  for (const [mtu, bufferSizeBytes] of [
    [1500, 2048],
    [1774, 2048],
    [1775, 4096],
    [3822, 4096],
  ] as const) {
    const nic = await open(mtu, {}).start();
    assert.is(nic.pool.bufferSizeBytes, bufferSizeBytes, `${mtu}`);
    await nic.close();
  }
});

device.run();
