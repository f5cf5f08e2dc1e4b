/**
 * The table of lab cases: which machine each needs. A case's tests are in cases/<name>.ts, a uvu file that runs in the
 * guest, unless `command` says something else.
 */
import type { VmOptions } from './vm.js';

export interface LabCase extends Omit<VmOptions, 'command' | 'onOutput'> {
  readonly name: string;
  /** Run in the guest instead of cases/<name>.js. Must print a uvu summary, too. */
  readonly command?: string;
  /** Runs on-host/<name>.js on the host instead; it may start machines and what they need. */
  readonly onHost?: boolean;
  /** Runs only when it is named: setting it up takes too long. */
  readonly optIn?: boolean;
  /**
   * Runs in the machine of the case before it, if that shares as well: both need the same machine. Such a case finds devices and
   * interfaces as after boot (see reset.ts), but not the kernel's log, nor its counters.
   */
  readonly shares?: boolean;
}

const IGBVF: LabCase = { name: 'igbvf', nics: ['igb'], timeoutS: 900 };

const FAMILIES: LabCase = {
  name: 'families',
  nics: [
    ...['virtio', 'virtio', 'virtio,packed=on', 'virtio,packed=on', 'e1000e', 'e1000e', 'igb'],
    'virtio,disable-legacy=off,iommu_platform=off,ats=off',
  ],
  monitor: true,
  timeoutS: 1200,
};

/** The case with each port's conformance through both of the kernel's interfaces: what docs/conformance.md has in all. */
const throughBoth = (labCase: LabCase): LabCase => ({
  ...labCase,
  name: `${labCase.name}-both`,
  command: `BAREWIRE_WIRE=both exec node --enable-source-maps dist/test/lab/cases/${labCase.name}.js`,
  optIn: true,
});

export const CASES: readonly LabCase[] = [
  { name: 'qemu-server', onHost: true, qemu: 'server', optIn: true },
  { name: 'selftest', onHost: true, timeoutS: 480 },
  { name: 'sequence', onHost: true },
  { name: 'captures', onHost: true, wireshark: true, timeoutS: 240 },
  { name: 'xdp', onHost: true, wireshark: true, timeoutS: 480 },
  { name: 'xdp-drivers', onHost: true, qemu: 11, timeoutS: 1200 },
  { name: 'ipxe', onHost: true, qemu: 11, timeoutS: 600 },
  { name: 'linux-ixgbe', onHost: true, qemu: 11, timeoutS: 960 },
  { name: 'emulate', onHost: true, qemu: 11, dpdk: true, timeoutS: 960 },
  { name: 'circle', onHost: true, qemu: 11, timeoutS: 1080 },
  { name: 'rss-ixgbe', onHost: true, qemu: 11, timeoutS: 480 },
  { name: 'vhost', onHost: true, dpdk: true, timeoutS: 480 },
  { name: 'package', onHost: true, timeoutS: 480 },
  { name: 'boot', nics: ['igb', 'igb'], shares: true },
  { name: 'vfio', nics: ['igb', 'igb'], shares: true },
  { name: 'fwd', nics: ['igb', 'igb'], shares: true, timeoutS: 1800 },
  { name: 'pipe', nics: ['igb', 'igb'], shares: true, timeoutS: 800 },
  { name: 'user', nics: ['igb', 'igb'], shares: true },
  { name: 'examples', nics: ['igb', 'igb'], shares: true },
  { name: 'rss', nics: ['igb', 'igb'], shares: true },
  { name: 'pktgen', nics: ['igb', 'igb'], shares: true },
  { name: 'isolation', nics: ['igb', 'igb'], shares: true },
  IGBVF,
  throughBoth(IGBVF),
  FAMILIES,
  throughBoth(FAMILIES),
  {
    name: 'virtio-iommu',
    nics: ['virtio', 'virtio,packed=on', 'e1000e', 'igb'],
    iommu: 'virtio',
    timeoutS: 600,
  },
  { name: 'faults', nics: ['igb', 'igb', 'vmxnet3'], edu: true, timeoutS: 1200 },
  { name: 'shared-group', nics: ['igb', 'igb'], sharedGroup: true },
  { name: 'no-iommu', nics: ['igb'], iommu: 'none' },
  // The last argument joins the wires of both ports.
  {
    name: 'endurance',
    nics: ['igb', 'igb'],
    peers: false,
    extraArgs: ['-netdev', 'hubport,id=j0,hubid=0', '-netdev', 'hubport,id=j1,hubid=1,netdev=j0'],
    timeoutS: 1200,
  },
];

/** The cases in order, those that share a machine together. */
export function byMachine(cases: readonly LabCase[]): LabCase[][] {
  const groups: LabCase[][] = [];
  for (const labCase of cases) {
    const last = groups.at(-1);
    if (labCase.shares && last?.[0]?.shares) last.push(labCase);
    else groups.push([labCase]);
  }
  return groups;
}
