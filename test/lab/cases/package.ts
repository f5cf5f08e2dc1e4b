/** A project that has installed the package works on a NIC, as a library and as a command; on-host/package.ts makes the project. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { bindDriver, nicAddress } from '../guest.js';
import { run } from '../processes.js';
import { dutMac } from '../qemu.js';
import { suite } from '../suite.js';

const project = process.env.LAB_PACKAGE!;
const installed = join(project, 'node_modules', 'barewire');
const address = nicAddress(0);

const inProject = suite('package');

inProject('can be imported, and opens a NIC', () => {
  bindDriver(address, 'vfio-pci');
  const program = `
    import { open, PacketPool } from 'barewire';
    const pool = new PacketPool({ buffers: 1024 });
    const nic = await open('${address}', { pool });
    console.log(nic.model, nic.macAddress, pool.available);
    await nic.close();
    console.log(pool.available);
    pool.close();`;
  const line = `cd '${project}' && exec '${process.execPath}' --input-type=module -e "$PROGRAM"`;
  const stdout = run('/bin/bash', ['-c', line], { env: { PROGRAM: program } });
  assert.is(stdout, `Intel 82576 ${dutMac(0)} 512\n1024\n`);
});

inProject('gives the command barewire', () => {
  const command = join(project, 'node_modules', '.bin', 'barewire');
  assert.match(run(command, ['list']), new RegExp(`^${address} .*82576.* vfio-pci .* igb$`, 'm'));
  const { version } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
  assert.is(run(command, ['--version']), `${version}\n`);
});

inProject.run();
