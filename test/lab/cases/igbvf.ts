/**
 * Two virtual functions of one 82576, whose port Linux keeps: `barewire bind --vfs`, a forwarder between them while Linux pings
 * through the same port, and resets of the port under it.
 *
 * The port gives each function a VLAN of its own, so that the forwarder joins VLAN 10 and VLAN 20, in which the stations A and B
 * are. A function takes unicast to its own address only, so the stations send there, and a hook puts in the station that it is for.
 * Nothing is broadcast (neighbours are given, IPv6 is off): QEMU's switch gives a function what it broadcasts itself.
 */
import { existsSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import * as assert from 'uvu/assert';
import { runFamilyPair, runWireSuites } from '../family-suites.js';
import { dmarFaults, driverOf, interfaceByMac, interfaceOf, kernelLog, nicAddress } from '../guest.js';
import { attempt, type Background, run, sleep, start, waitFor } from '../processes.js';
import { peerMac } from '../qemu.js';
import { suite } from '../suite.js';
import {
  ADDRESS_A,
  ADDRESS_B,
  assertBalanced,
  assertPings,
  assertTcp,
  BAREWIRE,
  cpuSeconds,
  describeTotals,
  finalTotals,
  isBusMaster,
  note,
  startTraffic,
  vfioInterrupts,
} from '../wire.js';

const TRANSFER_BYTES = 8 * 2 ** 20;
const MAC_A = '02:00:00:00:0a:0a';
const MAC_B = '02:00:00:00:0b:0b';
/** Of the virtual functions. */
const MAC_0 = '02:00:00:00:0a:ff';
const MAC_1 = '02:00:00:00:0b:ff';
const HOOK = '/tmp/readdress.mjs';
const port = nicAddress(0);
const name = interfaceOf(port)!;
const sysfs = `/sys/bus/pci/devices/${port}`;
const numVfs = (): number => Number(readFileSync(`${sysfs}/sriov_numvfs`, 'utf8'));
const virtual = (i: number): string => basename(readlinkSync(`${sysfs}/virtfn${i}`));

/** IPv6 sends to groups by itself, where the kernel has it. */
function switchIpv6Off(netns?: string): void {
  const command = 'cd /proc/sys/net/ipv6/conf/all 2>/dev/null || exit 0; echo 1 > disable_ipv6';
  run('sh', ['-c', command], netns === undefined ? {} : { netns });
}

/** Forwards to the station behind the other port, from the address of that port's function. */
function writeHook(): void {
  const bytes = (mac: string): number[] => mac.split(':').map((byte) => Number.parseInt(byte, 16));
  const heads = [
    [...bytes(MAC_A), ...bytes(MAC_0)],
    [...bytes(MAC_B), ...bytes(MAC_1)],
  ];
  writeFileSync(
    HOOK,
    `const heads = ${JSON.stringify(heads)};
export default ({ pool, to }) => (packet, lengthBytes) => {
  pool.bytes(packet).set(heads[to]);
  return lengthBytes;
};
`,
  );
}

/** The peer of the port: untagged in this namespace, VLAN 10 in A, VLAN 20 in B. */
function setUpStations(): void {
  const peer = interfaceByMac(peerMac(0))!;
  run('modprobe', ['8021q']);
  run('ip', ['netns', 'add', 'P']);
  switchIpv6Off('P');
  run('ip', ['link', 'set', peer, 'netns', 'P', 'name', 'k0']);
  run('ip', ['-n', 'P', 'link', 'set', 'k0', 'up']);
  run('ip', ['-n', 'P', 'address', 'add', '10.9.0.2/24', 'dev', 'k0']);
  for (const [netns, vlan, mac, address, other, gateway] of [
    ['A', '10', MAC_A, ADDRESS_A, ADDRESS_B, MAC_0],
    ['B', '20', MAC_B, ADDRESS_B, ADDRESS_A, MAC_1],
  ] as const) {
    const vlanName = `k0v${vlan}`;
    run('ip', ['netns', 'add', netns]);
    switchIpv6Off(netns);
    run('ip', [
      '-n',
      'P',
      'link',
      'add',
      'link',
      'k0',
      'name',
      vlanName,
      'address',
      mac,
      'type',
      'vlan',
      'id',
      vlan,
    ]);
    run('ip', ['-n', 'P', 'link', 'set', vlanName, 'netns', netns]);
    run('ip', ['-n', netns, 'link', 'set', vlanName, 'up']);
    run('ip', ['-n', netns, 'link', 'set', 'lo', 'up']);
    run('ip', ['-n', netns, 'address', 'add', `${address}/24`, 'dev', vlanName, 'nodad']);
    const neighbour = [other, 'lladdr', gateway, 'dev', vlanName, 'nud', 'permanent'];
    run('ip', ['-n', netns, 'neighbour', 'add', ...neighbour]);
  }
}

const binding = suite('bind --vfs');

binding('makes two virtual functions, free for VFIO, and leaves the port to the kernel', () => {
  switchIpv6Off();
  writeHook();
  run('ip', ['link', 'set', name, 'up']);
  run('ip', ['address', 'add', '10.9.0.1/24', 'dev', name]);
  const output = run(process.execPath, [BAREWIRE, 'bind', '--vfs', '2', port]);
  note(output.trim());
  assert.is(numVfs(), 2);
  assert.equal(
    [0, 1].map((i) => driverOf(virtual(i))),
    ['vfio-pci', 'vfio-pci'],
  );
  assert.is(driverOf(port), 'igb');
  assert.is(readFileSync(`${sysfs}/sriov_drivers_autoprobe`, 'utf8').trim(), '1');
  const list = run(process.execPath, [BAREWIRE, 'list']);
  for (const i of [0, 1]) assert.ok(list.includes(virtual(i)), list);
  run('ip', ['link', 'set', name, 'vf', '0', 'mac', MAC_0, 'vlan', '10']);
  run('ip', ['link', 'set', name, 'vf', '1', 'mac', MAC_1, 'vlan', '20']);
  setUpStations();
});

binding.run();

for (const [backend, ...args] of [['group'], ['cdev', '--path', 'general']] as const) {
  const wire = suite(`two virtual functions through ${backend}`);
  let fwd: Background | undefined;

  wire.before(async () => {
    fwd = await startTraffic(['fwd', virtual(0), virtual(1), '--on-packet', HOOK, ...args], {
      env: { BAREWIRE_VFIO: backend },
    });
  });
  wire.after(() => fwd?.kill('SIGKILL'));

  wire('100 of 100 pings, while Linux pings through the same port; 8 MiB of TCP each way', async () => {
    const beside = start('ping', ['-c', '50', '-i', '0.05', '10.9.0.2']);
    note(`ping ${assertPings(100)}`);
    const { status, stdout } = await beside.ended;
    assert.is(status, 0);
    assert.match(stdout, / 50 received/);
    if (backend === 'cdev') return;
    const there = await assertTcp('A', TRANSFER_BYTES);
    const back = await assertTcp('B', TRANSFER_BYTES);
    note(`TCP A to B ${there} Mbit/s, B to A ${back} Mbit/s`);
  });

  wire('sleeps when idle, and wakes by an interrupt', async () => {
    const before = cpuSeconds(fwd!.pid);
    await sleep(2000);
    note(`${(cpuSeconds(fwd!.pid) - before).toFixed(2)} s of processor time in 2 s of idling`);
    const interrupts = vfioInterrupts(virtual(0));
    assertPings(1);
    await waitFor('the interrupt', () => vfioInterrupts(virtual(0)) > interrupts);
  });

  wire('ends with status 0, totals that agree, bus mastering off, and no fault of the IOMMU', async () => {
    const outcome = await fwd!.stop('SIGINT');
    assert.is(outcome.status, 0, outcome.stderr);
    const totals = finalTotals(outcome);
    note(describeTotals(totals));
    assertBalanced(totals);
    assert.equal(
      [0, 1].map((i) => isBusMaster(virtual(i))),
      [false, false],
    );
    assert.equal(dmarFaults(kernelLog()), []);
  });

  wire.run();
}

function setVlans(...vlans: readonly string[]): void {
  for (const [i, vlan] of vlans.entries()) run('ip', ['link', 'set', name, 'vf', `${i}`, 'vlan', vlan]);
}

runFamilyPair({
  ...{ name: 'igbvf', backend: 'cdev', toMac: MAC_1 },
  devices: () => [virtual(0), virtual(1)],
  // Both in the VLAN of the wire itself, and back in their own.
  join: async () => {
    setVlans('0', '0');
    return async () => setVlans('10', '20');
  },
});

runWireSuites(
  () => {
    // The port would count its tags.
    setVlans('0', '0');
    return [
      {
        ...{ address: virtual(0), driver: 'igbvf', device: "a virtual function of QEMU's 82576" },
        ...{ usually: 'cdev', station: 'k0', netns: 'P', hasWireCounters: true, stationMaxBytes: 1514 },
      },
    ];
  },
  () => setVlans('10', '20'),
);

const resets = suite('a port that is reset');
let fwd: Background | undefined;
resets.before(async () => {
  fwd = await startTraffic(['fwd', virtual(0), virtual(1), '--on-packet', HOOK]);
});
resets.after(() => fwd?.kill('SIGKILL'));

/** Waits until traffic passes again. */
async function passes(): Promise<void> {
  const ping = ['netns', 'exec', 'A', 'ping', '-c', '1', '-W', '1', ADDRESS_B];
  await waitFor('a ping that is answered', () => attempt('ip', ping).status === 0);
  assertPings(20);
}

resets('another address for a function while it is at work, and back', async () => {
  assertPings(5);
  run('ip', ['link', 'set', name, 'vf', '0', 'mac', '02:00:00:00:0c:0c']);
  run('ip', ['link', 'set', name, 'vf', '0', 'mac', MAC_0]);
  await passes();
});

resets('the interface of the port goes down and up', async () => {
  run('ip', ['link', 'set', name, 'down']);
  await sleep(1000);
  run('ip', ['link', 'set', name, 'up']);
  await passes();
});

resets('its driver resets it for rings of another size', async () => {
  run('ethtool', ['-G', name, 'rx', '512']);
  await passes();
});

resets('all is told, nothing is left, and the port has as many functions as before', async () => {
  const outcome = await fwd!.stop('SIGINT');
  assert.is(outcome.status, 0, outcome.stderr);
  const totals = finalTotals(outcome);
  note(describeTotals(totals));
  for (const { resets: times = 0 } of totals) assert.ok(times >= 2, `${times} resets`);
  assert.equal(dmarFaults(kernelLog()), []);
  note(run(process.execPath, [BAREWIRE, 'unbind', port]).trim());
  assert.is(numVfs(), 0);
  assert.not(existsSync(`${sysfs}/virtfn0`));
  assert.is(driverOf(port), 'igb');
});

resets.run();
