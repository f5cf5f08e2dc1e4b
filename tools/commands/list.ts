/** `barewire list`: network controllers and interfaces of this machine, and which of them have a driver here. */
import type { Command } from 'commander';
import {
  listPorts,
  type PortListing,
  type SupportedDevice,
  supportedDevices,
} from '../../src/driver/registry.js';
import { deviceName, formatIds } from '../../src/pci/ids.js';
import { listDevices, listNics, type PciDevice } from '../../src/pci/sysfs.js';
import { sysfsRoot } from '../addresses.js';
import { formatTable, print, warn } from '../output.js';

interface Options {
  readonly json?: true;
  readonly all?: true;
}

export function register(program: Command): void {
  program
    .command('list')
    .description('show the network controllers and interfaces of this machine')
    .option('--json', 'print JSON, with all that is known')
    .option('--all', 'show all PCI devices, not only network controllers')
    .action((options: Options) => {
      const root = sysfsRoot();
      const devices = options.all === true ? listDevices(root) : listNics(root);
      const ports = listPorts(root);
      if (options.json === true) {
        print(
          JSON.stringify([...devices.map((device) => toJson(device, supportedDevices())), ...ports], null, 2),
        );
      } else if (devices.length + ports.length === 0) {
        warn(
          `no ${options.all === true ? 'PCI devices' : 'network controllers'} under ${root}/bus/pci/devices`,
          'commands also take an emulated NIC: vfio-user:/path/to.sock',
        );
      } else {
        print(toTable(devices, supportedDevices(), process.stdout.columns, ports));
      }
    });
}

/** Columns that a narrow terminal does without, the first one first. */
const SPARE_COLUMNS = ['IDS', 'NUMA', 'GROUP'];

/**
 * The table that `list` prints, without a line end.
 * @param width columns of the terminal; undefined where it is none
 * @param ports that are no PCI devices
 */
export function toTable(
  devices: readonly PciDevice[],
  supported: readonly SupportedDevice[],
  width?: number,
  ports: readonly PortListing[] = [],
): string {
  const header = ['ADDRESS', 'IDS', 'NAME', 'DRIVER', 'INTERFACE', 'GROUP', 'NUMA', 'BAREWIRE'];
  const rows = [
    header,
    ...devices.map((device) => [
      device.address,
      formatIds(device.vendor, device.device),
      nameOf(device, supported),
      device.driver ?? '-',
      device.interfaces.join(',') || '-',
      String(device.iommuGroup ?? '-'),
      String(device.numaNode ?? '-'),
      findSupported(device, supported)?.driver ?? '-',
    ]),
    ...ports.map((port) => [
      port.address,
      '-',
      port.name,
      port.driver ?? '-',
      port.interfaces.join(','),
      '-',
      '-',
      port.supportedBy ?? '-',
    ]),
  ];
  const fits = (table: string): boolean =>
    width === undefined || table.split('\n').every((line) => line.length <= width);
  let table = formatTable(rows);
  for (let spare = 1; !fits(table) && spare <= SPARE_COLUMNS.length; spare++) {
    const left = SPARE_COLUMNS.slice(0, spare);
    table = formatTable(rows.map((row) => row.filter((_, i) => !left.includes(header[i]!))));
  }
  return table;
}

/** One element of what `list --json` prints. */
export function toJson(device: PciDevice, supported: readonly SupportedDevice[]): object {
  return {
    ...device,
    name: nameOf(device, supported),
    supportedBy: findSupported(device, supported)?.driver ?? null,
  };
}

function findSupported(
  device: PciDevice,
  supported: readonly SupportedDevice[],
): SupportedDevice | undefined {
  return supported.find((entry) => entry.vendor === device.vendor && entry.device === device.device);
}

function nameOf(device: PciDevice, supported: readonly SupportedDevice[]): string {
  return findSupported(device, supported)?.name ?? deviceName(device.vendor, device.device);
}
