import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { supportedDevices } from '../../src/driver/registry.js';
import { listNics } from '../../src/pci/sysfs.js';
import { toTable } from '../../tools/commands/list.js';
import { FakeSysfs } from '../pci/fake-sysfs.js';
import { HANG_MS } from '../support/hang.js';
import { suite } from '../support/suite.js';
import { CLI, runCli } from './run-cli.js';

const cli = suite('barewire');
const fake = new FakeSysfs();
fake.add('0000:03:00.0', { driver: 'igb', group: 12, net: ['eth1'] });
fake.add('0000:03:00.1', { driver: 'vfio-pci', group: 13, attributes: { numa_node: '0' } });
fake.add('0000:04:00.0', { vendor: '0x1af4', device: '0x1041' });
fake.add('0000:05:00.0', { class: '0x010802', driver: 'nvme' });
cli.after(() => fake.remove());

const run = (...args: string[]) => runCli(args, fake.root);

for (const [args, message] of [
  [[], 'no command given'],
  [['lst'], "unknown command 'lst'"],
  [['help', 'nosuch'], "unknown command 'nosuch'"],
  [['help', '--jsn'], "unknown option '--jsn'"],
  [['--verbos'], "unknown option '--verbos'"],
  [['list', '--jsn'], "unknown option '--jsn'"],
  [['list', 'extra'], 'too many arguments'],
  [['bind'], "missing required argument 'address'"],
  [['unbind'], "missing required argument 'address'"],
  [['bind', 'not-an-interface'], '"not-an-interface" is not a device address'],
  [['bind', 'eth1'], '"eth1" is a network interface'],
  [['unbind', 'eth1'], '"eth1" is a network interface'],
  [['fwd', 'eth1', 'eth2'], '"eth1" is a network interface'],
  [['pktgen', 'eth1'], '"eth1" is a network interface'],
  [['pktgen', '/run/nic.sock'], 'is not a device address'],
  [['bind', '03:00.1', 'two\nlines'], 'is not a device address'],
  [['unbind', '03:00.9'], '"03:00.9" is not a device address'],
  [['bind', 'vfio-user:/run/nic.sock'], 'not a PCI device'],
] as const) {
  cli(`used wrongly: barewire ${args.join(' ')}`, () => {
    const { status, stdout, stderr } = run(...args);
    assert.is(status, 2);
    assert.is(stdout, '', 'nothing was done');
    const lines = stderr.split('\n');
    assert.is(lines.length, 3, stderr);
    assert.match(lines[0]!, /^barewire: \S/);
    assert.match(lines[0]!, message);
    assert.match(lines[1]!, /^hint: \S/);
    assert.is(lines[2], '');
  });
}

cli('a misspelt option gets the right one as a hint', () => {
  assert.match(run('list', '--jsn').stderr, 'hint: Did you mean --json?');
});

cli('the name of an interface: the hint has its address', () => {
  for (const args of [
    ['bind', 'eth1'],
    ['unbind', 'eth1'],
    ['pktgen', 'eth1'],
    ['fwd', '04:00.0', 'eth1'],
  ])
    assert.match(run(...args).stderr, 'hint: eth1 is 0000:03:00.0 (Intel 82576): give that address');
});

cli('bind says which nodes to open, and where Barewire has no driver', () => {
  const bound = new FakeSysfs();
  try {
    bound.add('0000:03:00.0', { driver: 'vfio-pci', group: 12, cdev: 3 });
    bound.add('0000:04:00.0', { vendor: '0x10ec', device: '0x8168', driver: 'vfio-pci', group: 13 });
    assert.equal(runCli(['bind', '03:00.0'], bound.root), {
      status: 0,
      stdout: [
        '0000:03:00.0 (Intel 82576): is bound to vfio-pci already',
        '  to open it without root: sudo chown $USER /dev/vfio/12',
        '  or, by the character device: sudo chown $USER /dev/vfio/devices/vfio3 /dev/iommu',
        '',
      ].join('\n'),
      stderr: '',
    });
    const { stderr } = runCli(['bind', '04:00.0'], bound.root);
    assert.match(
      stderr,
      /^warning: Barewire has no driver for 0000:04:00\.0 .*\nhint: .*unbind 0000:04:00\.0/,
    );
  } finally {
    bound.remove();
  }
});

cli('--version prints that of package.json', () => {
  const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'));
  assert.equal(run('--version'), { status: 0, stdout: `${version}\n`, stderr: '' });
});

cli('--help lists the commands on stdout', () => {
  const { status, stdout, stderr } = run('--help');
  assert.is(status, 0);
  assert.is(stderr, '');
  for (const command of ['list', 'bind', 'unbind']) assert.match(stdout, new RegExp(`^  ${command} `, 'm'));
});

cli('help of a command, of help itself, and of each command in 80 columns', () => {
  assert.match(run('help', 'list').stdout, /^Usage: barewire list /);
  assert.is(run('help', 'help').status, 0);
  for (const command of ['', 'list', 'bind', 'unbind', 'fwd', 'pktgen', 'capture', 'replay', 'emulate']) {
    const { status, stdout } = run(...(command === '' ? [] : [command]), '--help');
    assert.is(status, 0);
    for (const line of stdout.split('\n')) assert.ok(line.length <= 80, line);
  }
});

cli('"--" alone is no command either: help on stderr, status 2', () => {
  const { status, stdout, stderr } = run('--');
  assert.is(status, 2);
  assert.is(stdout, '');
  assert.match(stderr, /^Usage: barewire /);
  assert.not.match(stderr, 'outputHelp');
});

cli('list prints a table of the NICs', () => {
  const { status, stdout, stderr } = run('list');
  assert.is(status, 0);
  assert.is(stderr, '');
  assert.equal(
    stdout.split('\n').map((line) => line.split(/ {2,}/)),
    [
      ['ADDRESS', 'IDS', 'NAME', 'DRIVER', 'INTERFACE', 'GROUP', 'NUMA', 'BAREWIRE'],
      ['0000:03:00.0', '8086:10c9', 'Intel 82576', 'igb', 'eth1', '12', '-', 'igb'],
      ['0000:03:00.1', '8086:10c9', 'Intel 82576', 'vfio-pci', '-', '13', '0', 'igb'],
      ['0000:04:00.0', '1af4:1041', 'virtio net', '-', '-', '-', '-', 'virtio'],
      [''],
    ],
  );
});

cli('list in a terminal leaves out what does not fit, name and driver last', () => {
  const wide = new FakeSysfs();
  try {
    wide.add('0000:03:00.0', { device: '0x10fb', driver: 'ixgbe', group: 112, net: ['enp129s0f0np0'] });
    const devices = listNics(wide.root);
    const header = (width?: number) =>
      toTable(devices, supportedDevices(), width).split('\n')[0]!.split(/ +/);
    const all = ['ADDRESS', 'IDS', 'NAME', 'DRIVER', 'INTERFACE', 'GROUP', 'NUMA', 'BAREWIRE'];
    assert.equal(header(), all);
    assert.equal(header(120), all);
    const narrow = toTable(devices, supportedDevices(), 80);
    for (const line of narrow.split('\n')) assert.ok(line.length <= 80, line);
    assert.match(narrow, /^0000:03:00\.0 +Intel 82599 .* ixgbe +enp129s0f0np0 .*ixgbe$/m);
    assert.equal(header(10), ['ADDRESS', 'NAME', 'DRIVER', 'INTERFACE', 'BAREWIRE']);
  } finally {
    wide.remove();
  }
});

cli('list --json parses and says what the table says', () => {
  const { status, stdout } = run('list', '--json');
  assert.is(status, 0);
  const devices = JSON.parse(stdout) as Record<string, unknown>[];
  assert.is(devices.length, 3);
  const { address, vendor, device, name, driver, iommuGroup, interfaces, numaNode, supportedBy } =
    devices[0]!;
  assert.equal(
    { address, vendor, device, name, driver, iommuGroup, interfaces, numaNode, supportedBy },
    {
      address: '0000:03:00.0',
      vendor: 0x8086,
      device: 0x10c9,
      name: 'Intel 82576',
      driver: 'igb',
      iommuGroup: 12,
      interfaces: ['eth1'],
      numaNode: null,
      supportedBy: 'igb',
    },
  );
});

cli('list --all shows the other PCI devices too', () => {
  const addresses = (JSON.parse(run('list', '--all', '--json').stdout) as { address: string }[]).map(
    (d) => d.address,
  );
  assert.equal(addresses, ['0000:03:00.0', '0000:03:00.1', '0000:04:00.0', '0000:05:00.0']);
});

cli('list on a machine without NICs succeeds, with nothing on stdout', () => {
  const { status, stdout, stderr } = runCli(['list'], '/nonexistent');
  assert.is(status, 0);
  assert.is(stdout, '');
  assert.match(stderr, 'no network controllers');
  assert.equal(JSON.parse(runCli(['list', '--json'], '/nonexistent').stdout), []);
});

cli('a failure at run time is status 1, one line and a hint', () => {
  const { status, stdout, stderr } = run('bind', '05:00.0');
  assert.is(status, 1);
  assert.is(stdout, '');
  assert.match(stderr, /^barewire: 0000:05:00\.0 .* is not a network controller .*\nhint: .*\n$/);
});

cli('several addresses: each is reported, the good ones done, status 1 if any failed', () => {
  const { status, stdout, stderr } = run('bind', '07:00.0', '03:00.1', '05:00.0');
  assert.is(status, 1);
  assert.match(stdout, '0000:03:00.1 (Intel 82576): is bound to vfio-pci already');
  assert.match(stdout, 'sudo chown $USER /dev/vfio/13');
  assert.equal(
    stderr
      .split('\n')
      .filter((line) => line.startsWith('barewire: '))
      .map((line) => /0000:0[57]:00\.0/.exec(line)?.[0]),
    ['0000:07:00.0', '0000:05:00.0'],
  );
  assert.is(run('bind', '03:00.1', '0000:03:00.1').status, 0);
});

cli('one bad address among several: none is touched', () => {
  const { status, stdout } = run('bind', '03:00.1', 'nonsense');
  assert.is(status, 2);
  assert.is(stdout, '');
});

cli('unbind of a NIC that the kernel has succeeds', () => {
  const { status, stdout } = run('unbind', '03:00.0');
  assert.is(status, 0);
  assert.match(stdout, 'is not bound to vfio-pci, has driver igb');
});

cli('with DEBUG the stack follows the error; without it does not', () => {
  assert.not.match(run('bind', '05:00.0').stderr, /^ +at /m);
  assert.match(runCli(['bind', '05:00.0'], fake.root, { DEBUG: 'x' }).stderr, /^ +at .*bind/m);
});

/** Runs node with a stdout that nobody reads: closed before the child has even started. */
async function runWithoutReader(args: readonly string[]): Promise<{ status: number | null; stderr: string }> {
  const child = spawn(process.execPath, args, {
    env: { PATH: process.env.PATH ?? '', BAREWIRE_SYSFS: fake.root },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: HANG_MS,
    killSignal: 'SIGKILL',
  });
  child.stdout.destroy();
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, stderr };
}

cli('output to a full disk: one line, status 1', () => {
  const full = openSync('/dev/full', 'w');
  try {
    const { status, stderr } = spawnSync(process.execPath, [CLI, 'list'], {
      env: { PATH: process.env.PATH ?? '', BAREWIRE_SYSFS: fake.root },
      stdio: ['ignore', full, 'pipe'],
      encoding: 'utf8',
    });
    assert.is(status, 1);
    assert.match(stderr, /^barewire: standard output cannot be written: ENOSPC[^\n]*\n$/);
    // Of commands that run until a signal, which ends them here while nothing runs yet, too.
    const help = spawnSync(process.execPath, [CLI, 'fwd', '--help'], {
      stdio: ['ignore', full, 'pipe'],
      encoding: 'utf8',
    });
    assert.equal([help.status, help.stderr], [1, stderr]);
  } finally {
    closeSync(full);
  }
});

/** Sends the process a signal as soon as it listens to it. */
const SIGNAL_AT_ONCE = `data:text/javascript,${encodeURIComponent(`
  const on = process.on;
  process.on = function (name, listener) {
    on.call(this, name, listener);
    if (name === 'SIGINT') process.kill(process.pid, name);
    return this;
  };`)}`;

for (const name of ['fwd', 'pktgen', 'capture', 'replay', 'sink', 'rfc2544', 'emulate', 'extcap']) {
  cli(`a signal while ${name} is loaded ends it with status 0, and nothing is said`, () => {
    // One that is heard only later finds the wrong option first.
    const { status, stderr } = spawnSync(
      process.execPath,
      ['--import', SIGNAL_AT_ONCE, CLI, name, '--no-such-option'],
      { encoding: 'utf8', timeout: HANG_MS, killSignal: 'SIGKILL' },
    );
    assert.equal([status, stderr], [0, '']);
  });
}

cli('a closed pipe is not an error', async () => {
  assert.equal(await runWithoutReader([CLI, 'list']), { status: 0, stderr: '' });
});

cli('a closed pipe stops a running command as Ctrl-C does, once', async () => {
  const program = `
    import { print, watchOutput } from ${JSON.stringify(new URL('../../tools/output.js', import.meta.url).href)};
    watchOutput();
    let stops = 0;
    process.on('SIGINT', () => {
      stops++;
      setTimeout(() => { console.error('stops', stops); process.exit(7); }, 20);
      print('statistics');
    });
    setInterval(() => print('tick'), 1);`;
  const { status, stderr } = await runWithoutReader(['--input-type=module', '-e', program]);
  assert.is(status, 7);
  assert.is(stderr, 'stops 1\n');
});

cli.run();
