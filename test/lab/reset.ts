/**
 * Makes a machine as it was after boot, for the next case in it: no namespaces or bridges, each device under test with the kernel's own
 * driver, VFIO's nodes root's, peers and interfaces down and without addresses. Fails where something of the case still runs.
 */
import { chownSync, existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { bindDriver, driverOf, interfaceByMac, nicAddresses, removeNamespace } from './guest.js';
import { run, waitFor } from './processes.js';
import { peerMac } from './qemu.js';

/** What `init` runs, and nobody else here: the signs of life. */
const INIT_PROGRAM = '/bin/busybox';

/** Processes with a program, which kernel threads have not, other than this one, those it descends from, and those of `init`. */
function strangers(): string[] {
  const own = new Set<number>();
  for (let pid = process.pid; pid > 0; ) {
    own.add(pid);
    pid = Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  }
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && !own.has(Number(name)))
    .flatMap((pid) => {
      try {
        const program = readlinkSync(`/proc/${pid}/exe`);
        return program === INIT_PROGRAM ? [] : `${pid} ${program}`;
      } catch {
        return []; // a kernel thread, or gone
      }
    });
}

await waitFor('the end of what the case started', () => strangers().length === 0, 10_000).catch(() => {
  throw new Error(`The case has left processes: ${strangers().join(', ')}`);
});

const namespaces = run('ip', ['netns', 'list']).split('\n').filter(Boolean);
for (const line of namespaces) removeNamespace(line.split(' ')[0]!);

for (const name of readdirSync('/sys/class/net')) {
  if (existsSync(`/sys/class/net/${name}/bridge`)) run('ip', ['link', 'delete', name]);
}

for (const node of ['/dev/vfio/vfio', '/dev/iommu']) chownSync(node, 0, 0);
for (const address of nicAddresses()) {
  if (driverOf(address)) bindDriver(address, undefined);
  writeFileSync('/sys/bus/pci/drivers_probe', address);
}

// The kernel takes a namespace apart, and gives its interfaces back, some time after it was deleted.
for (const index of nicAddresses().keys()) {
  const peer = () => interfaceByMac(peerMac(index));
  await waitFor(`peer ${index}`, () => peer() !== undefined, 60_000);
  run('ip', ['address', 'flush', 'dev', peer()!]);
  run('ip', ['link', 'set', peer()!, 'down']);
  writeFileSync(`/run/lab/k${index}`, `${peer()}\n`);
}
