/** The programs in examples/ do what their first lines say, as a newcomer would start them. */
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { bindDriver, interfaceOf, nicAddresses } from '../guest.js';
import { PacketSocket } from '../packet-socket.js';
import { attempt, run, start, waitFor } from '../processes.js';
import { dutMac } from '../qemu.js';
import { suite } from '../suite.js';
import { addNamespaces, assertPings, note, testFrame, vfioNodesOf } from '../wire.js';

const examples = suite('examples');
const addresses = nicAddresses() as [string, string];
const example = (name: string) => fileURLToPath(new URL(`../../../examples/${name}.js`, import.meta.url));

/** Runs an example, and `use` once its ports are open. Returns what it printed, after a clean end by Ctrl-C. */
async function running(name: string, args: string[], use: () => void | Promise<void>): Promise<string> {
  const program = start(process.execPath, [example(name), ...args]);
  try {
    const count = args.filter((arg) => addresses.includes(arg)).length;
    await waitFor('the open ports', () => openPorts(program.pid) === count, 150_000);
    await use();
  } finally {
    program.kill('SIGINT');
  }
  const outcome = await program.ended;
  assert.is(outcome.status, 0, outcome.stderr);
  return outcome.stdout;
}

/** Number of devices that the process has open by their own node. */
function openPorts(pid: number): number {
  return vfioNodesOf(pid).filter((node) => node.startsWith('/dev/vfio/devices/')).length;
}

examples.before(() => {
  addNamespaces();
  for (const address of addresses) bindDriver(address, 'vfio-pci');
});

for (const name of ['forward', 'echo', 'dump']) {
  examples(`${name} says in one line how to use it`, () => {
    const { status, stdout, stderr } = attempt(process.execPath, [example(name)]);
    assert.is(status, 2);
    assert.is(stdout, '');
    assert.match(stderr, new RegExp(`^usage: ${name}\\.js PORT[^\\n]*\\n$`));
  });
}

examples('forward carries ping', async () => {
  const output = await running('forward', addresses, () => note(`examples/forward: ${assertPings(50)}`));
  const counts = [...output.matchAll(/^(\S+): received (\d+), sent (\d+)$/gm)];
  assert.equal(
    counts.map(([, address]) => address),
    addresses,
  );
  const [a, b] = counts.map(([, , received, sent]) => ({ received: Number(received), sent: Number(sent) }));
  assert.ok(a!.received >= 50, output);
  assert.equal(b, { received: a!.sent, sent: a!.received });
});

examples('echo answers ping, 100 of 100, for any address', async () => {
  await running('echo', [addresses[0]], () => {
    note(`examples/echo: ${assertPings(100, '10.0.0.77')}`);
    assertPings(5, '10.0.0.78');
    const neighbour = run('ip', ['neighbour', 'show', '10.0.0.77'], { netns: 'A' });
    assert.match(neighbour, dutMac(0));
  });
});

examples('echo answers for one address, and for no other', async () => {
  await running('echo', [addresses[0], '10.0.0.99'], () => {
    // 1400 bytes of data: the checksum is right for more than the default.
    assertPings(5, '10.0.0.99', '-s', '1400');
    const other = attempt('ping', ['-c', '1', '-W', '2', '10.0.0.98'], { netns: 'A' });
    assert.match(other.stdout, '0 received');
  });
});

examples('dump prints a line for each frame, and stops after as many as it was told', async () => {
  const dump = start(process.execPath, [example('dump'), addresses[1], '7']);
  const socket = new PacketSocket('k1', 'B');
  await waitFor('the open port', () => openPorts(dump.pid) === 1, 150_000);
  // The receiver is on some time after the node is open; frames sent before that are lost.
  const sending = setInterval(() => socket.send(testFrame(300, 0)), 50);
  const outcome = await dump.ended.finally(() => clearInterval(sending));
  socket.close();
  assert.is(outcome.status, 0, outcome.stderr);
  const lines = outcome.stdout.trimEnd().split('\n');
  assert.is(lines.length, 7);
  for (const line of lines) {
    assert.match(line, /^\d\d:\d\d:\d\d\.\d{3} +\d+ bytes (\w\w:){5}\w\w > (\w\w:){5}\w\w type 0x\w{4}$/);
  }
  const own = lines.filter((line) =>
    / 300 bytes 02:00:00:00:0a:01 > 02:00:00:00:0b:02 type 0x88b5$/.test(line),
  );
  assert.ok(own.length > 0, outcome.stdout);
  note(`examples/dump: ${lines[0]}`);
});

examples('give the ports back', () => {
  bindDriver(addresses[0], 'igb');
  assert.ok(interfaceOf(addresses[0]));
});

examples.run();
