/**
 * Compiles to dist/. Plain JavaScript, because it runs before anything is built.
 *
 * The compiler writes to a folder of its own, and only what differs goes to dist/, each file by one rename. So several
 * builds at a time, and tests that run from dist/ meanwhile, do not disturb each other; and what a deleted source left
 * behind is removed, which would otherwise be tested and shipped.
 *
 *     node build.mjs               fails where TypeScript is not installed
 *     node build.mjs --optional    only says so, as the `prepare` script: `npm ci --omit=dev` must not fail
 */
import { spawnSync } from 'node:child_process';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** A folder of a build that was killed is removed when it is this old. No build takes this long. */
const ABANDONED_MS = 3_600_000;

const ROOT = import.meta.dirname;
const DIST = join(ROOT, 'dist');

/** The compiler's script, or undefined where it is not installed. */
function findCompiler() {
  try {
    return join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
  } catch {
    return undefined;
  }
}

/** Paths of all files under a folder, relative to it. */
function filesUnder(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
}

/** The bytes of a file; undefined where there is none, or something else. */
function contentOf(file) {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}

/** Makes `to` hold what `from` holds. What is equal already stays untouched. */
function synchronise(from, to) {
  const files = filesUnder(from);
  for (const file of files) {
    const [fresh, present] = [join(from, file), join(to, file)];
    if (contentOf(present)?.equals(readFileSync(fresh))) continue;
    mkdirSync(dirname(present), { recursive: true });
    renameSync(fresh, present);
  }
  const wanted = new Set(files);
  for (const file of filesUnder(to)) {
    if (!wanted.has(file)) rmSync(join(to, file), { force: true });
  }
}

function removeAbandoned() {
  for (const name of readdirSync(ROOT)) {
    if (!name.startsWith('.build-')) continue;
    const age = Date.now() - (lstatSync(join(ROOT, name), { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > ABANDONED_MS) rmSync(join(ROOT, name), { recursive: true, force: true });
  }
}

function build(compiler) {
  removeAbandoned();
  // Beside dist/: source maps name the sources relative to it, and a rename needs the same file system.
  const fresh = mkdtempSync(join(ROOT, '.build-'));
  try {
    const { status } = spawnSync(
      process.execPath,
      [compiler, '-p', join(ROOT, 'tsconfig.json'), '--outDir', fresh],
      { stdio: 'inherit' },
    );
    if (status !== 0) return 1;
    mkdirSync(DIST, { recursive: true });
    synchronise(fresh, DIST);
    return 0;
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

const compiler = findCompiler();
if (compiler !== undefined) process.exitCode = build(compiler);
else {
  console.error('not built: TypeScript is not installed (npm ci, without --omit=dev, installs it)');
  process.exitCode = process.argv.includes('--optional') ? 0 : 1;
}
