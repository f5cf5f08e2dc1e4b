/** What Wireshark is offered to capture on: ports of this machine, emulated ports, and running forwarders. */
import { basename, dirname } from 'node:path';
import { supportedDevices } from '../src/driver/registry.js';
import { NicError } from '../src/errors.js';
import { listNics } from '../src/pci/sysfs.js';
import { sysfsRoot } from './addresses.js';
import { liveSockets } from './socket-folder.js';
import { runningTaps } from './tap-client.js';

export interface ExtcapInterface {
  /** What Wireshark calls it by: `tshark -i NAME`. */
  readonly name: string;
  /** What its list shows. */
  readonly display: string;
  readonly source:
    | { readonly kind: 'port'; readonly address: string }
    | { readonly kind: 'tap'; readonly path: string }
    /** Of which the user gives the address. */
    | { readonly kind: 'any' };
}

const PREFIX = 'barewire';
/** Ports that can be driven are bound to this. */
const VFIO_DRIVER = 'vfio-pci';

/** All interfaces, in the order of the list. */
export async function extcapInterfaces(): Promise<ExtcapInterface[]> {
  return [
    ...(await runningTaps()).map(
      ({ pid, ports, path }): ExtcapInterface => ({
        name: `${PREFIX}-fwd-${pid}`,
        display: `Barewire: fwd ${ports.map(shortAddress).join(' - ')}`,
        source: { kind: 'tap', path },
      }),
    ),
    ...liveSockets('emulator').map((path): ExtcapInterface => {
      // barewire-emulator-x1Y2z3/port0.sock
      const [, id] = /-(\w+)$/.exec(basename(dirname(path))) ?? [];
      const port = basename(path, '.sock');
      return {
        name: `${PREFIX}-emulated-${id}-${port}`,
        display: `Barewire: emulated ${port} (${id})`,
        source: { kind: 'port', address: `vfio-user:${path}` },
      };
    }),
    ...pciPorts(),
    { name: PREFIX, display: 'Barewire: a port by its address', source: { kind: 'any' } },
  ];
}

function pciPorts(): ExtcapInterface[] {
  const supported = supportedDevices();
  return listNics(sysfsRoot()).flatMap(({ address, driver, vendor, device }) => {
    const known = supported.find((one) => one.vendor === vendor && one.device === device);
    if (driver !== VFIO_DRIVER || known === undefined) return [];
    const display = `Barewire: ${known.name} (${address})`;
    return [{ name: `${PREFIX}-${address}`, display, source: { kind: 'port', address } as const }];
  });
}

/** The interface of that name. @throws NicError `BAD_OPTION` where there is none, or none any more */
export async function findInterface(name: string): Promise<ExtcapInterface> {
  const found = (await extcapInterfaces()).find((one) => one.name === name);
  if (found !== undefined) return found;
  throw new NicError('BAD_OPTION', `There is no interface ${name}`, {
    hint: 'Its process may have ended; let Wireshark refresh its list (F5).',
  });
}

/** `.../barewire-emulator-x1Y2z3/port0.sock` is shown as `port0.sock`. */
function shortAddress(address: string): string {
  return address.startsWith('vfio-user:') ? basename(address) : address;
}
