/** What `npm pack` makes, installed into an empty project without a network, works there as a library and as a command. */
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { bindDriver, nicAddress } from '../guest.js';
import { type PackageRegistry, servePackages } from '../package-registry.js';
import { type Outcome, start } from '../processes.js';
import { dutMac } from '../qemu.js';
import { suite } from '../suite.js';
import { note } from '../wire.js';

const root = fileURLToPath(new URL('../../../..', import.meta.url));
const manifest: { version: string; dependencies: object } = JSON.parse(
  readFileSync(join(root, 'package.json'), 'utf8'),
);
const folder = mkdtempSync('/tmp/package-');
const project = join(folder, 'project');
const address = nicAddress(0);
let registry: PackageRegistry;

/** Runs a line of shell without blocking this process, which is the registry. */
async function shell(line: string, cwd = project): Promise<Outcome> {
  const env = {
    npm_config_registry: registry.url,
    npm_config_cache: join(folder, 'cache'),
    npm_config_userconfig: '/dev/null',
    npm_config_audit: 'false',
    npm_config_fund: 'false',
    npm_config_update_notifier: 'false',
  };
  const outcome = await start('/bin/bash', ['-c', `cd ${cwd} && ${line}`], { env }).ended;
  if (outcome.status !== 0) throw new Error(`${line}: ${outcome.status}\n${outcome.stdout}${outcome.stderr}`);
  return outcome;
}

const packed = suite('package');

packed.before(async () => {
  registry = await servePackages(join(root, 'node_modules'));
  mkdirSync(project);
  writeFileSync(join(project, 'package.json'), '{ "name": "empty", "private": true, "type": "module" }');
});

packed.after(() => registry.close());

packed('has the library and the command, and neither tests nor sources', async () => {
  // Built already; building takes minutes here.
  const line = `npm pack --ignore-scripts --json --pack-destination ${folder}`;
  const [{ files, size }] = JSON.parse((await shell(line, root)).stdout) as [
    { files: { path: string }[]; size: number },
  ];
  const paths = files.map(({ path }) => path);
  for (const path of [
    'package.json',
    'LICENSE',
    'dist/src/index.js',
    'dist/src/index.d.ts',
    'dist/tools/barewire.js',
    'bin/barewire.js',
  ]) {
    assert.ok(paths.includes(path), path);
  }
  const unwanted =
    /^(dist\/)?(test|bench)\/|\.test\.|node_modules|\.tsbuildinfo|^(?!examples\/).*(?<!\.d)\.ts$/;
  assert.equal(
    paths.filter((path) => unwanted.test(path)),
    [],
  );
  note(`npm pack: ${paths.length} files, ${Math.round(size / 1024)} KiB`);
});

packed('installs with its dependencies and no others', async () => {
  await shell(`npm install ${folder}/barewire-${manifest.version}.tgz`);
  const direct = Object.keys(manifest.dependencies);
  assert.ok(
    direct.every((name) => registry.fetched.has(name)),
    [...registry.fetched].join(),
  );
  note(`npm install fetched ${[...registry.fetched].sort().join(', ')}`);
});

packed('can be imported, and opens a NIC', async () => {
  bindDriver(address, 'vfio-pci');
  writeFileSync(
    join(project, 'use.js'),
    `import { open, PacketPool } from 'barewire';
     const pool = new PacketPool({ buffers: 1024 });
     const nic = await open(process.argv[2], { pool });
     console.log(nic.model, nic.macAddress, pool.available);
     await nic.close();
     console.log(pool.available);
     pool.close();\n`,
  );
  const { stdout } = await shell(`node use.js ${address}`);
  assert.is(stdout, `Intel 82576 ${dutMac(0)} 512\n1024\n`);
});

packed('gives the command barewire', async () => {
  const { stdout } = await shell('npx --offline barewire list');
  assert.match(stdout, new RegExp(`^${address} .*82576.* vfio-pci .* igb$`, 'm'));
  assert.is((await shell('npx --offline barewire --version')).stdout, `${manifest.version}\n`);
});

packed.run();
