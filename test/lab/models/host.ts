/**
 * A process that serves device models to a lab machine: started by process.ts with a description of the NICs as its
 * argument, it says where their sockets are, answers requests, and ends when it is told to or its parent is gone.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from '../../../src/emulator/link.js';
import { Monitor } from '../../../src/emulator/links/monitor.js';
import { StreamPort } from '../../../src/emulator/links/stream.js';
import type { DeviceModel } from '../../../src/emulator/model.js';
import { buildEmulator, type Emulator } from '../../../src/emulator/topology.js';
import type { Message, NicOptions, NicReport, Report, Request, Tally } from './description.js';
import { Responder } from './responder.js';

const FCS_BYTES = 4;

/** What a NIC's wire carries, and who is at its other end. */
interface NicWire {
  readonly sent: Tally;
  readonly received: Tally;
  responder?: Responder;
}

const options: readonly NicOptions[] = JSON.parse(process.argv[2]!);
// A socket's path has 107 bytes at most, so not in the cache, which may be deep down.
const folder = mkdtempSync(join(tmpdir(), 'barewire-lab-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const trouble: string[] = [];
const sockets = options.map((_, i) => join(folder, `nic${i}.sock`));
const emulator = await buildEmulator(
  {
    nics: options.map(({ deviceId, mac, mappable }, i) => ({
      path: sockets[i]!,
      name: `nic${i}`,
      deviceId: deviceId ?? 0x10fb,
      mappable: mappable ?? true,
      mac: mac.split(':').map((byte) => Number.parseInt(byte, 16)),
    })),
    links: [],
  },
  {
    onError: (error, where) => trouble.push(`${where}: ${error instanceof Error ? error.stack : error}`),
  },
);
const wires = options.map(
  (): NicWire => ({ sent: { frames: 0, bytes: 0 }, received: { frames: 0, bytes: 0 } }),
);
for (const [i, nic] of options.entries()) await plugIn(i, nic);

tell({ ready: { folder, sockets } });
process.on('message', (request: Request) => {
  tell({ report: report(emulator) });
  if (request === 'stop') emulator.host.stop();
});
process.once('disconnect', () => emulator.host.stop());
await emulator.host.run();
emulator.host.close();
process.disconnect?.();

async function plugIn(index: number, nic: NicOptions): Promise<void> {
  const model = emulator.models[index]!;
  const wire = wires[index]!;
  const { host } = emulator;
  if ('nic' in nic.wire) {
    const other = nic.wire.nic;
    // Once for both ends.
    if (index < other) joinCounted(model, emulator.models[other]!, wire, wires[other]!);
  } else if ('responder' in nic.wire) {
    wire.responder = new Responder(nic.wire.responder);
    host.addPollable(wire.responder);
    joinCounted(model, wire.responder, wire);
  } else {
    const stream = await StreamPort.listen(join(folder, nic.wire.stream));
    stream.onReadable = () => host.wake();
    host.addPollable(stream);
    host.addCleanup(() => stream.close());
    joinCounted(model, stream, wire, undefined, nic.wire.lossless);
  }
}

/** Joins a model and what is at the other end, and counts what passes in the books of both. */
function joinCounted(
  model: DeviceModel,
  far: Parameters<typeof connect>[1],
  wire: NicWire,
  farWire?: NicWire,
  flowControl = false,
): void {
  const monitor = new Monitor((_memory, _offset, lengthBytes, fromModel) => {
    count(fromModel ? wire.sent : wire.received, lengthBytes);
    if (farWire) count(fromModel ? farWire.received : farWire.sent, lengthBytes);
  });
  connect(monitor.b, far, { flowControl });
  connect(model, monitor.a, { flowControl });
}

function count(tally: Tally, lengthBytes: number): void {
  tally.frames++;
  tally.bytes += lengthBytes + FCS_BYTES;
}

function report({ models }: Emulator): Report {
  return { nics: models.map((model, i) => nicReport(model, wires[i]!)), trouble };
}

function nicReport(model: DeviceModel, wire: NicWire): NicReport {
  const { list, faults } = model.violations;
  return {
    name: model.name,
    sent: wire.sent,
    received: wire.received,
    violations: list,
    faults,
    pingsAnswered: wire.responder?.answered ?? 0,
  };
}

function tell(message: Message): void {
  process.send?.(message);
}
