/**
 * Tells whether a network interface is in use, so that `bind` does not cut the connection somebody is working over.
 *
 * Sources: proc(5) and Linux net/ipv4/fib_trie.c (fib_route_seq_show), net/ipv6/route.c (rt6_info_route) for the
 * routing tables; Documentation/ABI/testing/sysfs-class-net for `flags` and `upper_*`.
 */
import type { NetworkInterfaceInfo } from 'node:os';
import { join } from 'node:path';
import { systemFiles } from './files.js';
import { isInterfaceUp, upperInterfaces } from './sysfs.js';

/** Where to look. */
export interface HostView {
  readonly sysfsRoot: string;
  readonly procRoot: string;
  /** As `os.networkInterfaces`: the addresses of the interfaces that are up and have a carrier. */
  readonly networkInterfaces: () => NodeJS.Dict<NetworkInterfaceInfo[]>;
}

/** RTF_REJECT (linux/route.h): the route says "unreachable". The kernel itself has such a default route on lo. */
const ROUTE_REJECT = 0x0200;

interface Route {
  readonly interface: string;
  readonly isDefault: boolean;
}

/**
 * Why the interface should be left alone, each reason a phrase like `carries the IPv4 default route`. Empty for an
 * interface that is free. Routes of other tables than the main one are not seen; an address on the interface is.
 */
export function interfaceUses(name: string, host: HostView): string[] {
  const uses: string[] = [];
  const routes4 = ipv4Routes(systemFiles.readText(join(host.procRoot, 'net/route'))).filter(
    (r) => r.interface === name,
  );
  const routes6 = ipv6Routes(systemFiles.readText(join(host.procRoot, 'net/ipv6_route'))).filter(
    (r) => r.interface === name,
  );
  if (routes4.some((route) => route.isDefault)) uses.push('carries the IPv4 default route');
  if (routes6.some((route) => route.isDefault)) uses.push('carries the IPv6 default route');
  for (const upper of upperInterfaces(name, host.sysfsRoot)) uses.push(`is part of ${upper}`);
  if (uses.length === 0 && isInterfaceUp(name, host.sysfsRoot)) {
    const addresses = (host.networkInterfaces()[name] ?? []).map((entry) => entry.address);
    if (addresses.length > 0) uses.push(`is up with address ${addresses.join(', ')}`);
    // Without a carrier the addresses are not listed, but the route to the interface's own network stays.
    else if (routes4.length > 0) uses.push('is up and has an IPv4 route');
  }
  return uses;
}

/** `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`, numbers in hexadecimal, one header line. */
function ipv4Routes(text = ''): Route[] {
  const routes: Route[] = [];
  for (const line of text.split('\n').slice(1)) {
    const [name, destination, , flags, , , , mask] = line.trim().split(/\s+/);
    if (name === undefined || flags === undefined || mask === undefined) continue;
    if ((Number.parseInt(flags, 16) & ROUTE_REJECT) !== 0) continue;
    routes.push({ interface: name, isDefault: isZero(destination) && isZero(mask) });
  }
  return routes;
}

/** `destination length source length next-hop metric refcount use flags interface`, no header line. */
function ipv6Routes(text = ''): Route[] {
  const routes: Route[] = [];
  for (const line of text.split('\n')) {
    const [destination, length, , , , , , , flags, name] = line.trim().split(/\s+/);
    if (flags === undefined || name === undefined) continue;
    if ((Number.parseInt(flags, 16) & ROUTE_REJECT) !== 0) continue;
    routes.push({ interface: name, isDefault: isZero(destination) && isZero(length) });
  }
  return routes;
}

function isZero(text: string | undefined): boolean {
  return text !== undefined && /^0+$/.test(text);
}
