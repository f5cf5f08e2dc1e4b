/**
 * What `npm pack` makes, installed into an empty project without a network: here npm's part, in a machine (cases/package.ts) the
 * library's and the command's on a NIC. npm is not run in the machine, where it takes minutes.
 */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { servePackages } from '../package-registry.js';
import { start } from '../processes.js';
import { runInGuest } from '../run-case.js';
import { suite } from '../suite.js';
import { PROJECT_ROOT } from '../vm.js';

const manifest: { version: string; dependencies: object } = JSON.parse(
  readFileSync(join(PROJECT_ROOT, 'package.json'), 'utf8'),
);
const folder = mkdtempSync(join(tmpdir(), 'barewire-package-'));
const project = join(folder, 'project');
const registry = await servePackages(join(PROJECT_ROOT, 'node_modules'));

/** Runs a line of shell without blocking this process, which is the registry; returns standard output. */
async function shell(line: string, cwd = project): Promise<string> {
  const env = {
    npm_config_registry: registry.url,
    npm_config_cache: join(folder, 'cache'),
    npm_config_userconfig: '/dev/null',
    npm_config_audit: 'false',
    npm_config_fund: 'false',
    npm_config_update_notifier: 'false',
  };
  const outcome = await start('/bin/bash', ['-c', `cd '${cwd}' && ${line}`], { env }).ended;
  if (outcome.status !== 0) throw new Error(`${line}: ${outcome.status}\n${outcome.stdout}${outcome.stderr}`);
  return outcome.stdout;
}

const packed = suite('npm pack and npm install');

packed('has the library and the command, and neither tests nor sources', async () => {
  // Built already: what is packed is what is tested.
  const line = `npm pack --ignore-scripts --json --pack-destination '${folder}'`;
  const [{ files, size }] = JSON.parse(await shell(line, PROJECT_ROOT)) as [
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
  console.log(`\n   npm pack: ${paths.length} files, ${Math.round(size / 1024)} KiB`);
});

packed('installs with its dependencies and no others', async () => {
  mkdirSync(project);
  writeFileSync(join(project, 'package.json'), '{ "name": "empty", "private": true, "type": "module" }');
  await shell(`npm install '${folder}/barewire-${manifest.version}.tgz'`);
  const direct = Object.keys(manifest.dependencies);
  assert.ok(
    direct.every((name) => registry.fetched.has(name)),
    [...registry.fetched].join(),
  );
  console.log(`\n   npm install fetched ${[...registry.fetched].sort().join(', ')}`);
});

packed('gives npx the command', async () => {
  assert.is(await shell('npx --offline barewire --version'), `${manifest.version}\n`);
});

packed('works in a machine', async () => {
  chmodSync(folder, 0o755);
  const command = `LAB_PACKAGE='${project}' exec node --enable-source-maps dist/test/lab/cases/package.js`;
  const { text: output, totals } = await runInGuest({ name: 'package', command, nics: ['igb'] });
  process.stdout.write(output);
  assert.is(totals.failed, 0);
  assert.ok(totals.passed > 0);
});

packed.after(() => {
  registry.close();
  rmSync(folder, { recursive: true });
});

packed.run();
