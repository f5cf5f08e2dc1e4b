/**
 * Linux's own ixgbe driver on our models, an 82599 and an X540, which a cable joins. The host's half of this case,
 * on-host/linux-ixgbe.ts, starts the models and compares their counters with what this half prints.
 *
 *     namespace A / x0 10.0.0.1 = 82599 <-> X540 = x1 10.0.0.2 / namespace B
 */
import { readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import {
  driverOf,
  interfaceOf,
  kernelLog,
  kernelWarningsSince,
  moveToNamespace,
  nicAddresses,
  waitForCarrier,
} from '../guest.js';
import { printCounters } from '../models/counters.js';
import { attempt, run, sleep } from '../processes.js';
import { suite } from '../suite.js';
import { ADDRESS_A, ADDRESS_B, assertAllLengthsPass, assertPings, assertTcp, iperf, note } from '../wire.js';

const TRANSFER_BYTES = 64 * 2 ** 20;

const addresses = nicAddresses() as [string, string];
const ENDS = [
  { netns: 'A', name: 'x0', address: ADDRESS_A },
  { netns: 'B', name: 'x1', address: ADDRESS_B },
] as const;

/** Of this lab's VFIO modules, and of programs on an overlay. */
const EXPECTED_WARNINGS = [/iommufd: loading out-of-tree module/, /evm: overlay not supported/];

/** A full ring, as TCP makes it; and what the kernel would have sent while the link was down. */
const LOSSES = ['rx_missed_errors', 'tx_dropped'];

/** A pause frame with its FCS. */
const PAUSE_OCTETS = 64;

type End = (typeof ENDS)[number];

/** Pause frames that an interface has counted. */
function pauses(own: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(own).filter(([name]) => name.includes('_flow_control_')));
}

/** Counters of `ethtool -S`, by name. Asking makes the driver take over the hardware's counters. */
function counters({ netns, name }: End): Record<string, number> {
  const lines = run('ethtool', ['-S', name], { netns }).split('\n');
  return Object.fromEntries(
    lines.map((line) => line.trim().split(': ')).map(([key, value]) => [key, Number(value)]),
  );
}

/** Counters of both ends, once nothing is under way any more. */
async function settledCounters(): Promise<Record<string, number>[]> {
  for (let before = ''; ; await sleep(300)) {
    const now = ENDS.map(counters);
    if (JSON.stringify(now) === before) return now;
    before = JSON.stringify(now);
  }
}

/** Interrupts that the kernel has counted for each of the interface's vectors, by the vector's name. */
function interrupts({ name }: End): Record<string, number> {
  const lines = readFileSync('/proc/interrupts', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/));
  const own = lines.filter(
    (words) => words.some((word) => word.includes('PCI-MSIX')) && words.at(-1)!.startsWith(name),
  );
  return Object.fromEntries(
    own.map((words) => [
      words.at(-1),
      words.slice(1).reduce((sum, word) => sum + (/^\d+$/.test(word) ? Number(word) : 0), 0),
    ]),
  );
}

async function waitForLinks(): Promise<void> {
  for (const { name, netns } of ENDS) await waitForCarrier(name, netns);
}

const linux = suite("Linux's ixgbe driver on the models");

linux('takes both NICs and brings the link up', async () => {
  assert.equal(addresses.map(driverOf), ['ixgbe', 'ixgbe']);
  for (const [i, { netns, name, address }] of ENDS.entries()) {
    moveToNamespace(netns, interfaceOf(addresses[i]!)!, name, `${address}/24`);
  }
  await waitForLinks();
  for (const { netns, name } of ENDS) assert.match(run('ethtool', [name], { netns }), 'Speed: 10000Mb/s');
});

linux('answers 200 of 200 pings, by MSI-X interrupts', () => {
  const before = ENDS.map(interrupts);
  note(`ping ${assertPings(200)}`);
  for (const [i, end] of ENDS.entries()) {
    const after = interrupts(end);
    const [first, second] = [0, 1].map(
      (n) => after[`${end.name}-TxRx-${n}`]! - before[i]![`${end.name}-TxRx-${n}`]!,
    );
    assert.ok(first! + second! > 0, JSON.stringify(after));
  }
});

linux('carries frames of every length from 60 to 1514 bytes, unchanged and in order, both ways', async () => {
  // One processor sends through one queue; between queues there is no order.
  const useProcessors = (mask: string) => run('taskset', ['-p', mask, `${process.pid}`]);
  useProcessors('1');
  note(`${await assertAllLengthsPass(['x0', 'x1'])} frames`);
  useProcessors('3');
});

linux('carries 64 MiB of TCP each way, with the same SHA-256', async () => {
  const there = await assertTcp('A', TRANSFER_BYTES);
  const back = await assertTcp('B', TRANSFER_BYTES);
  note(`64 MiB of TCP A to B ${there} Mbit/s, B to A ${back} Mbit/s`);
});

linux('spreads connections over both receive queues, each with its interrupt', async () => {
  const before = await settledCounters();
  note(`iperf3 with 16 connections ${await iperf(3, '-P', '16')} Mbit/s`);
  const after = await settledCounters();
  for (const [i, end] of ENDS.entries()) {
    const packets = [0, 1].map(
      (n) => after[i]![`rx_queue_${n}_packets`]! - before[i]![`rx_queue_${n}_packets`]!,
    );
    note(
      `${end.name}: packets by queue ${packets}, interrupts since boot ${JSON.stringify(interrupts(end))}`,
    );
    assert.ok(
      packets.every((count) => count > 0),
      `${end.name}: ${packets}`,
    );
    assert.ok([0, 1].every((n) => interrupts(end)[`${end.name}-TxRx-${n}`]! > 0));
  }
});

linux('carries frames of 9000 bytes, and tagged ones', async () => {
  await settledCounters(); // the reset that comes with a new MTU clears the hardware's
  for (const { netns, name } of ENDS) run('ip', ['-n', netns, 'link', 'set', name, 'mtu', '9000']);
  await waitForLinks();
  for (const [i, { netns, name }] of ENDS.entries()) {
    run('ip', ['-n', netns, 'link', 'add', 'link', name, 'name', 'tagged', 'type', 'vlan', 'id', '5']);
    run('ip', ['-n', netns, 'address', 'add', `10.0.5.${i + 1}/24`, 'dev', 'tagged']);
    run('ip', ['-n', netns, 'link', 'set', 'tagged', 'up']);
  }
  for (const to of [ADDRESS_B, '10.0.5.2']) {
    assertPings(20, to, '-s', '8900', '-M', 'do');
  }
});

linux("passes the driver's own self-test of registers, EEPROM, interrupts and loopback", async () => {
  // The other end asks for no address while this one is away: counters could not agree.
  run('ip', ['-n', 'B', 'link', 'set', 'tagged', 'arp', 'off']);
  run('ip', ['-n', 'B', 'link', 'set', 'x1', 'arp', 'off']);
  await settledCounters();
  // Of the NIC whose registers are not mapped: plain memory cannot show what the test expects of reserved bits.
  const [{ netns, name }] = ENDS;
  const { stdout } = attempt('ethtool', ['-t', name, 'offline'], { netns });
  assert.match(stdout, 'The test result is PASS', `${stdout}${kernelLog().split('\n').slice(-5).join('\n')}`);
  await waitForLinks();
});

linux('has counted no errors, and says what it has counted', async () => {
  const after = await settledCounters();
  for (const [i, own] of after.entries()) {
    const errors = Object.entries(own).filter(
      ([key, value]) => value > 0 && /error|dropped|timeout|failed/.test(key) && !LOSSES.includes(key),
    );
    assert.equal(errors, [], ENDS[i]!.name);
  }
  // Linux takes missed frames out of GPRC, but not out of GORC; and pause frames out of what was sent. GPRC never has those.
  const driverCounters = after.map((own) => {
    const pausesSent = own.tx_flow_control_xon! + own.tx_flow_control_xoff!;
    const pausesReceived = own.rx_flow_control_xon! + own.rx_flow_control_xoff!;
    const received = own.rx_pkts_nic! + own.rx_missed_errors!;
    return {
      sent: {
        frames: own.tx_pkts_nic! + pausesSent,
        bytes: own.tx_bytes_nic! + PAUSE_OCTETS * pausesSent,
      },
      received: {
        frames: received + pausesReceived,
        bytes: own.rx_bytes_nic! + PAUSE_OCTETS * pausesReceived,
      },
    };
  });
  note(`pause frames: ${JSON.stringify(after.map(pauses))}`);
  printCounters(driverCounters);
});

linux('has nothing to complain of in the kernel log', () => {
  const warnings = kernelWarningsSince(/ixgbe: /).filter(
    (line) => !EXPECTED_WARNINGS.some((pattern) => pattern.test(line)),
  );
  assert.equal(warnings, []);
});

linux.run();
