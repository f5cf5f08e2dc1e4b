/**
 * From the description of a lab machine to QEMU's command line. Nothing here starts anything.
 */

import { basename } from 'node:path';

/** What a lab machine is made of. Only what differs from the default needs to be given. */
/** Which QEMU, of those that setup.sh prepares. */
export type QemuStage = 10 | 11 | 'server';

export interface MachineOptions {
  /**
   * Devices under test, in order. Each is a QEMU device, perhaps with properties: `igb`, `e1000e`, `virtio,mq=on`,
   * `vmxnet3`; or `vfio-user:/path/to.sock`, a device that a server on the host implements (QEMU 11 only). The wire of
   * such a device is the server's business; `vfio-user:/path/to.sock,stream=/other.sock` says where the server takes a
   * connection from the peer (framing of QEMU's `-netdev stream`), otherwise there is no peer.
   * Device i has the MAC address 52:54:00:00:00:0i and sits on its own PCIe root port.
   */
  readonly nics?: readonly string[];
  /**
   * A folder with the sockets of a vhost-user back end, which then is both ends of each wire: `u<i>` for device i, `k<i>` for its peer. All
   * devices are virtio. Default: QEMU's own back end.
   */
  readonly vhostUser?: string;
  /** Wires device i to a virtio-net interface of the guest's kernel, MAC 52:54:00:00:01:0i. Default: true. */
  readonly peers?: boolean;
  /** Puts all devices under test into one IOMMU group, by root ports without ACS. Default: false. */
  readonly sharedGroup?: boolean;
  readonly iommu?: 'intel' | 'virtio' | 'none';
  /** Default: 10. 'server' boots nothing: it serves devices by vfio-user. */
  readonly qemu?: QemuStage;
  readonly cpus?: number;
  readonly memoryMib?: number;
  /** Number of 2 MiB hugepages that the guest's kernel sets aside. Default: 128. */
  readonly hugepages?: number;
  /** Adds QEMU's teaching device: a PCI function that is no NIC, and whose expansion ROM is all ones. */
  readonly edu?: boolean;
  /** Lets tests talk to QEMU's monitor, see `monitor.ts`. Default: false. */
  readonly monitor?: boolean;
  /** Puts DPDK's `dpdk-testpmd` into the guest's PATH. Default: false. */
  readonly dpdk?: boolean;
  /** Brings tshark and what comes with it, for the host's half of a case: see `hostPrograms`. Default: false. */
  readonly wireshark?: boolean;
  /** More words for the guest kernel's command line. */
  readonly kernelArgs?: readonly string[];
  /** More arguments for QEMU. */
  readonly extraArgs?: readonly string[];
}

/** Files that the machine boots from and writes to. */
export interface MachineFiles {
  readonly kernelImage: string;
  readonly initramfs: string;
  /** Shared with the guest as /out; the console's log is in it too. */
  readonly outDir: string;
}

/** In the shared folder: what the expansion ROM of `edu` holds. */
export const ONES_ROM = 'ones.rom';

/**
 * The guest's processor has no features that cost more to emulate than they save: wide vectors, string instructions that go byte by
 * byte (fast on real processors, so kernel and libc take them where they are), the fifth level of page tables, and SMAP,
 * which ends a translated block at each copy from or to a program.
 */
const PROCESSOR = 'max,-avx,-avx2,-erms,-fsrm,-fsrs,-fzrm,-la57,-smap';

/** I/O port of the isa-debug-exit device; the guest's init writes the status to it. */
const EXIT_PORT = 0xf4;

/** First PCI slot of the root ports, above those that QEMU gives to other devices by itself. */
const FIRST_ROOT_PORT_SLOT = 0x10;

const IOMMU = {
  // Must come before the devices it stands in front of.
  intel: {
    devices: ['-device', 'intel-iommu,intremap=on,caching-mode=on,aw-bits=48'],
    kernelArgs: ['intel_iommu=on', 'iommu=nopt'],
  },
  // Has no interrupt remapping, so VFIO has to be told that unsafe interrupts are fine.
  virtio: {
    devices: ['-device', 'virtio-iommu-pci,addr=02'],
    kernelArgs: ['vfio_iommu_type1.allow_unsafe_interrupts=1', 'iommufd.allow_unsafe_interrupts=1'],
  },
  none: {
    devices: [],
    kernelArgs: ['vfio.enable_unsafe_noiommu_mode=1'],
  },
} as const;

/** MAC address of device under test i. */
export const dutMac = (index: number): string => `52:54:00:00:00:${hexByte(index)}`;

/** MAC address of the kernel-driven peer of device i. */
export const peerMac = (index: number): string => `52:54:00:00:01:${hexByte(index)}`;

function hexByte(value: number): string {
  return value.toString(16).padStart(2, '0');
}

/** QEMU's arguments for a machine. */
export function qemuArguments(options: MachineOptions, files: MachineFiles): string[] {
  const { nics = [], memoryMib = 1536, cpus = 2, hugepages = 128 } = options;
  const iommu = IOMMU[options.iommu ?? 'intel'];
  const isShared = options.vhostUser !== undefined || nics.some((nic) => nic.startsWith('vfio-user:'));
  const kernelArgs = [
    'console=ttyS0 quiet loglevel=4 panic=-1',
    // Emulated timers are late on a busy host: the kernel's checks would fail now and then.
    'no_timer_check tsc=reliable',
    // One-shot timers, if one is lost on a busy host, leave a processor without ticks for good; periodic ones go on.
    'nohz=off highres=off',
    'random.trust_cpu=on nokaslr mitigations=off',
    // Or the kernel sends solicitations and reports of its own, at times that no test knows.
    'ipv6.disable=1',
    `hugepages=${hugepages}`,
    ...iommu.kernelArgs,
    ...(options.kernelArgs ?? []),
  ];
  return [
    ...[
      '-machine',
      'q35,memory-backend=ram',
      '-accel',
      'tcg,thread=multi',
      '-cpu',
      PROCESSOR,
      '-smp',
      `${cpus}`,
    ],
    // A memfd where another process maps the guest's memory; elsewhere private memory, which the host backs by huge pages.
    ...['-m', `${memoryMib}`, '-object'],
    isShared
      ? `memory-backend-memfd,id=ram,size=${memoryMib}M,share=on`
      : `memory-backend-ram,id=ram,size=${memoryMib}M`,
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-serial', `file:${files.outDir}/console`],
    ...['-device', `isa-debug-exit,iobase=${EXIT_PORT},iosize=1`],
    ...iommu.devices,
    ...sharedFolder('host', '/', 'readonly=on,multidevs=remap'),
    ...sharedFolder('out', files.outDir),
    ...nics.flatMap((nic, index) => nicArguments(nic, index, options)),
    ...(options.edu ? ['-device', `edu,addr=0x8,romfile=${files.outDir}/${ONES_ROM}`] : []),
    ...(options.monitor ? monitorArguments(files.outDir) : []),
    ...(options.extraArgs ?? []),
    ...['-kernel', files.kernelImage, '-initrd', files.initramfs, '-append', kernelArgs.join(' ')],
  ];
}

/** QEMU's arguments for a machine without disk or network but the one device, which boots iPXE with a script. */
export function ipxeArguments(nic: string, files: MachineFiles): string[] {
  return [
    ...['-machine', 'q35,memory-backend=ram,graphics=off', '-accel', 'tcg'],
    ...['-m', '256', '-object', 'memory-backend-memfd,id=ram,size=256M,share=on'],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-serial', `file:${files.outDir}/console`],
    ...nicArguments(nic, 0, {}),
    ...['-kernel', files.kernelImage, '-initrd', files.initramfs],
  ];
}

/**
 * Joins the monitor and a port of the machine's that is no terminal: QEMU connects to itself, by a name that no other machine has. The kernel
 * would type back to the monitor what comes on a terminal before it is told not to echo.
 */
function monitorArguments(outDir: string): string[] {
  const socket = `path=barewire-lab-${basename(outDir)}-${process.pid},abstract=on`;
  return [
    ...[
      '-chardev',
      `socket,id=monitor,server=on,wait=off,${socket}`,
      '-mon',
      'chardev=monitor,mode=readline',
    ],
    ...['-chardev', `socket,id=port,${socket}`],
    ...['-device', 'virtio-serial-pci', '-device', 'virtserialport,chardev=port'],
  ];
}

function sharedFolder(tag: string, path: string, fsOptions?: string): string[] {
  return [
    '-fsdev',
    [`local,id=${tag},path=${path},security_model=none`, fsOptions].filter(Boolean).join(),
    '-device',
    `virtio-9p-pci,fsdev=${tag},mount_tag=${tag}`,
  ];
}

function nicArguments(nic: string, index: number, options: MachineOptions): string[] {
  const args = ['-device', rootPort(index, options.sharedGroup ?? false)];
  if (nic.startsWith('vfio-user:')) {
    const [path, stream] = nic.slice('vfio-user:'.length).split(',stream=');
    const device = { driver: 'vfio-user-pci', bus: `port${index}`, socket: { type: 'unix', path } };
    args.push('-device', JSON.stringify(device));
    if (!stream) return args;
    const wire = ['-netdev', `stream,id=k${index},server=off,addr.type=unix,addr.path=${stream}`];
    return [...args, ...peerArguments(index, wire)];
  }
  const [model, ...properties] = nic.split(',');
  // Modern virtio only, and its DMA goes through the IOMMU like anyone's.
  const device = model === 'virtio' ? 'virtio-net-pci,disable-legacy=on,iommu_platform=on,ats=on' : model;
  const plug = `bus=port${index},netdev=u${index},mac=${dutMac(index)},romfile=`;
  args.push(...wireArguments(`u${index}`, index, options));
  args.push('-device', [device, plug, ...properties].join());
  if (options.peers ?? true)
    args.push(...peerArguments(index, wireArguments(`k${index}`, index, options), options.vhostUser));
  return args;
}

/** What a device or its peer is plugged into: the hub between the two, or a back end outside. */
function wireArguments(id: string, index: number, { vhostUser }: MachineOptions): string[] {
  if (vhostUser === undefined) return ['-netdev', `hubport,id=${id},hubid=${index}`];
  return [
    ...['-chardev', `socket,id=c${id},path=${vhostUser}/${id}`],
    ...['-netdev', `vhost-user,id=${id},chardev=c${id}`],
  ];
}

/**
 * What would let the kernel leave checksums to the back end, and send a frame of 64 KiB for it to cut: ends of a wire do that for each
 * other, and a device between them would have to.
 */
const NO_OFFLOADS = [
  ...['csum', 'gso', 'host_tso4', 'host_tso6', 'host_ecn', 'host_ufo'],
  ...['guest_csum', 'guest_tso4', 'guest_tso6', 'guest_ecn', 'guest_ufo'],
].map((feature) => `${feature}=off`);

/** The kernel-driven interface at the other end of a device's wire. */
function peerArguments(index: number, wire: readonly string[], vhostUser?: string): string[] {
  const features = vhostUser === undefined ? [] : NO_OFFLOADS;
  const device = [`virtio-net-pci,netdev=k${index},mac=${peerMac(index)},romfile=`, ...features].join();
  return [...wire, '-device', device];
}

/**
 * A root port for device i. With ACS each port's device has an IOMMU group of its own. Ports that are functions of one
 * slot and have no ACS could pass packets to each other unseen, so the kernel puts all behind them into one group.
 */
function rootPort(index: number, sharedGroup: boolean): string {
  const port = `pcie-root-port,id=port${index},chassis=${index + 1},slot=${index + 1}`;
  if (!sharedGroup) return `${port},addr=0x${(FIRST_ROOT_PORT_SLOT + index).toString(16)}`;
  return `${port},addr=0x${FIRST_ROOT_PORT_SLOT.toString(16)}.${index},multifunction=on,disable-acs=on`;
}
