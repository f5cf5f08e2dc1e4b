/**
 * Two drivers that we did not write, on ports of `barewire emulate` as it ships: Linux's ixgbe and its ethtool, then DPDK's
 * testpmd. The host's half of this case is on-host/emulate.ts.
 *
 *     namespace A / x0 10.0.0.1 = 82599 <- cable -> 82599 = x1 10.0.0.2 / namespace B
 */
import * as assert from 'uvu/assert';
import {
  bindDriver,
  interfaceOf,
  kernelLog,
  moveToNamespace,
  nicAddresses,
  removeNamespace,
  waitForCarrier,
} from '../guest.js';
import { attempt, type Background, run, start, waitFor } from '../processes.js';
import { suite } from '../suite.js';
import { ADDRESS_A, ADDRESS_B, assertPings, iperf, note } from '../wire.js';

const addresses = nicAddresses() as [string, string];
const ENDS = [
  { netns: 'A', name: 'x0', address: ADDRESS_A },
  { netns: 'B', name: 'x1', address: ADDRESS_B },
] as const;

const ethtool = (end: { netns: string; name: string }, ...args: string[]): string =>
  run('ethtool', [...args.slice(0, 1), end.name, ...args.slice(1)], { netns: end.netns });

async function waitForLinks(): Promise<void> {
  for (const { name, netns } of ENDS) await waitForCarrier(name, netns);
}

const linux = suite("ports of barewire emulate under Linux's ixgbe");

linux('come up, and answer 50 of 50 pings', async () => {
  for (const [i, { netns, name, address }] of ENDS.entries()) {
    moveToNamespace(netns, interfaceOf(addresses[i]!)!, name, `${address}/24`);
  }
  await waitForLinks();
  note(`ping ${assertPings(50)}`);
});

linux('carry TCP', async () => {
  note(`iperf3 ${await iperf(3)} Mbit/s`);
});

linux("pass the driver's self-test, registers included (ethtool -t offline)", async () => {
  for (const { netns, name } of ENDS) {
    const { stdout } = attempt('ethtool', ['-t', name, 'offline'], { netns });
    assert.match(
      stdout,
      'The test result is PASS',
      `${stdout}${kernelLog().split('\n').slice(-5).join('\n')}`,
    );
    await waitForLinks();
  }
});

linux('show the module in their cages (ethtool -m)', () => {
  // One is enough: a bit of it on the module's bus is half a dozen register accesses, all 512 bytes a hundred thousand.
  const [{ netns, name }] = ENDS;
  const module = run('ethtool', ['-m', name], { netns, timeoutMs: 150_000 });
  for (const line of [
    /Identifier +: 0x03 \(SFP\)/,
    /Transceiver type +: 10G Ethernet: 10G Base-SR/,
    /Vendor name +: BAREWIRE/,
    /Vendor SN +: BW525400000000/,
    /Laser wavelength +: 850nm/,
    /Module temperature +: 35\.00 degrees C/,
    /Receiver signal average optical power +: 0\.5000 mW/,
    /Laser rx power low alarm +: Off/,
  ]) {
    assert.match(module, line);
  }
});

linux('change flow control while traffic runs (ethtool -A)', async () => {
  for (const [rx, tx] of [
    ['on', 'off'],
    ['off', 'off'],
    ['on', 'on'],
  ] as const) {
    for (const end of ENDS) {
      // What is so already is an error to ethtool.
      attempt('ethtool', ['-A', end.name, 'autoneg', 'off', 'rx', rx, 'tx', tx], { netns: end.netns });
    }
    await waitForLinks();
    for (const end of ENDS) {
      // The driver sets it when it sees the link.
      await waitFor(`flow control of ${end.name}: rx ${rx}, tx ${tx}`, () => {
        const shown = ethtool(end, '-a');
        return new RegExp(`RX:\\s+${rx}\\s+TX:\\s+${tx}`).test(shown);
      });
    }
    assertPings(10);
  }
});

linux('count what each queue received (ethtool -S)', () => {
  for (const end of ENDS) {
    const statistics = ethtool(end, '-S');
    const value = (name: string): number =>
      Number(statistics.match(new RegExp(`^ *${name}: (\\d+)$`, 'm'))?.[1]);
    assert.ok(value('rx_pkts_nic') > 0, statistics);
    for (const error of ['rx_errors', 'rx_crc_errors', 'rx_length_errors', 'rx_long_length_errors']) {
      assert.is(value(error), 0, `${end.name} ${error}`);
    }
  }
});

linux.run();

const dpdk = suite('ports of barewire emulate under DPDK');

/** The numbers after `RX-packets:` and so on, by port. */
interface PortStats {
  readonly rx: number;
  readonly missed: number;
  readonly errors: number;
  readonly tx: number;
}

/** Asks testpmd for the statistics of both ports. */
async function statsOf(testpmd: Background): Promise<[PortStats, PortStats]> {
  const from = testpmd.stdout.length;
  testpmd.say('show port stats all');
  const blocks = await waitFor('statistics of both ports', () => {
    const found = testpmd.stdout.slice(from).split('NIC statistics for port').slice(1);
    return found.length === 2 && found.every((text) => text.includes('TX-packets')) ? found : undefined;
  });
  const number = (text: string, name: string): number =>
    Number(text.match(new RegExp(`${name}:\\s+(\\d+)`))?.[1]);
  return blocks.map((text) => ({
    rx: number(text, 'RX-packets'),
    missed: number(text, 'RX-missed'),
    errors: number(text, 'RX-errors'),
    tx: number(text, 'TX-packets'),
  })) as [PortStats, PortStats];
}

dpdk('count every packet that arrives: what one port sent, the other received', async () => {
  for (const { netns } of ENDS) removeNamespace(netns);
  for (const address of addresses) bindDriver(address, 'vfio-pci');
  const testpmd = start(
    // Or it would not show what it prints before it has 4 KiB of it.
    'stdbuf',
    [
      ...['-oL', 'dpdk-testpmd', '-l', '0-1', '--no-telemetry', '--iova-mode=pa'],
      ...addresses.flatMap((address) => ['-a', address]),
      ...['--', '--interactive', '--total-num-mbufs=8192', '--forward-mode=io', '--no-lsc-interrupt'],
    ],
    { interactive: true },
  );
  try {
    await testpmd.waitForOutput(/testpmd> /, 120_000);
    // Frames that go round: what comes in at one port leaves at the other, whose cable leads back.
    testpmd.say('start tx_first');
    let stats = await statsOf(testpmd);
    while (stats.some(({ tx }) => tx < 1000)) stats = await statsOf(testpmd);
    testpmd.say('stop');
    for (let before = ''; before !== JSON.stringify(stats); stats = await statsOf(testpmd)) {
      before = JSON.stringify(stats);
    }
    const [a, b] = stats;
    note(`testpmd: ${JSON.stringify(stats)}`);
    assert.ok(a.rx >= 1000 && b.rx >= 1000);
    assert.is(a.rx + a.missed, b.tx);
    assert.is(b.rx + b.missed, a.tx);
    assert.equal([a.errors, b.errors], [0, 0]);
    testpmd.say('quit');
    assert.is((await testpmd.ended).status, 0, testpmd.stderr);
  } catch (error) {
    throw new Error(
      `${(error as Error).message}\n${testpmd.stdout.slice(-3000)}${testpmd.stderr.slice(-3000)}`,
    );
  } finally {
    testpmd.kill('SIGKILL');
  }
});

dpdk.run();
