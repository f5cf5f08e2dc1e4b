/**
 * Runs any command in a lab machine, prints its output and exits with its status:
 *
 *     node dist/test/lab/shell.js --nics igb,igb -- 'lspci; node dist/tools/barewire.js list'
 */
import { rmSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { MachineOptions } from './qemu.js';
import { runVm } from './vm.js';

const USAGE = `usage: shell.js [options] -- COMMAND...

  --nics LIST        devices under test, such as igb,e1000e,virtio
  --nic SPEC         one more device, with QEMU properties; may be repeated
  --no-peers         no kernel-driven interfaces at the other end of the wires
  --shared-group     all devices under test in one IOMMU group
  --iommu KIND       intel (default), virtio or none
  --qemu 10|11       11 has vfio-user-pci (--nic vfio-user:/path/to.sock)
  --cpus N  --memory MIB  --hugepages N  --timeout SECONDS
  --kernel-arg WORD  --qemu-arg WORD     may be repeated
  --keep             keep the folder that is /out in the guest, and say where it is

In the guest $U<i> is the PCI address of device i, $K<i> the interface of its peer.`;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      nics: { type: 'string', default: '' },
      nic: { type: 'string', multiple: true, default: [] },
      'no-peers': { type: 'boolean', default: false },
      'shared-group': { type: 'boolean', default: false },
      iommu: { type: 'string', default: 'intel' },
      qemu: { type: 'string', default: '10' },
      cpus: { type: 'string', default: '2' },
      memory: { type: 'string', default: '1536' },
      hugepages: { type: 'string', default: '128' },
      timeout: { type: 'string', default: '300' },
      'kernel-arg': { type: 'string', multiple: true, default: [] },
      'qemu-arg': { type: 'string', multiple: true, default: [] },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help || positionals.length === 0) {
    console.error(USAGE);
    return values.help ? 0 : 2;
  }
  const result = await runVm({
    nics: [...values.nics.split(',').filter(Boolean), ...values.nic],
    peers: !values['no-peers'],
    sharedGroup: values['shared-group'],
    iommu: values.iommu as NonNullable<MachineOptions['iommu']>,
    qemu: values.qemu === '11' ? 11 : 10,
    cpus: Number(values.cpus),
    memoryMib: Number(values.memory),
    hugepages: Number(values.hugepages),
    timeoutS: Number(values.timeout),
    kernelArgs: values['kernel-arg'],
    extraArgs: values['qemu-arg'],
    command: positionals.join(' '),
    onOutput: (stream, text) => process[stream].write(text),
  });
  if (result.status === 124 || result.status === 125)
    console.error(`lab: no result; console:\n${result.console}`);
  console.error(`lab: status ${result.status} after ${result.durationS.toFixed(1)} s`);
  if (values.keep) console.error(`lab: /out was ${result.outDir}`);
  else rmSync(result.outDir, { recursive: true });
  return result.status;
}

process.exitCode = await main();
