/**
 * Packet loops in programs that a bundler has rewritten or a coverage tool has instrumented: they forward every frame, and
 * run from copies of their factories wherever a copy can run. With the real tools: esbuild and Istanbul.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type BuildOptions, buildSync } from 'esbuild';
import * as assert from 'uvu/assert';
import { DIST, PLAIN_ENV } from '../support/child.js';
import { HANG_MS } from '../support/hang.js';
import { suite } from '../support/suite.js';
import type { PathResult } from './instantiate-program.js';

const PROGRAM = fileURLToPath(new URL('./instantiate-program.js', import.meta.url));
const ROOT = join(DIST, '..');

/** It comes without types. */
const { createInstrumenter } = createRequire(import.meta.url)('istanbul-lib-instrument') as {
  createInstrumenter(options: { esModules: boolean }): { instrumentSync(code: string, path: string): string };
};

/** Frames on two pairs of queues. */
const FRAMES = 192;
/** By path and pair of queues: a factory's first closure is its own, all others are made by copies. */
const COPIED: Readonly<Record<string, readonly boolean[]>> = {
  queues: [false, true],
  fused: [false, true],
  // Its own loop, with the hook in it.
  general: [false, true],
  pipe: [false, true],
  hook: [true, true],
};
const SHARED = Object.fromEntries(Object.keys(COPIED).map((path) => [path, [false, false]]));

/** What esbuild is told, and whether copies of its output can run. */
const BUNDLES: readonly (readonly [name: string, options: BuildOptions, copied: boolean])[] = [
  ['plain', {}, true],
  ['--minify', { minify: true }, true],
  ['--keep-names', { keepNames: true }, false],
  ['--minify --keep-names', { minify: true, keepNames: true }, false],
  ['--target=es2020', { target: 'es2020' }, true],
];

/** A folder where the project's packages can be imported. */
function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'bw-bundled-'));
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  return folder;
}

/**
 * Runs programs one after the other in one process.
 * @returns by program what it printed, or the error that it ended with
 */
function run(files: readonly string[]): Map<string, Record<string, PathResult> | string> {
  const script = `for (const url of ${JSON.stringify(files.map((file) => pathToFileURL(file)))}) {
    await import(url).catch((error) => console.log(JSON.stringify(error.stack)));
  }`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    encoding: 'utf8',
    // No coverage of files that are gone by the time it is looked at.
    env: { ...PLAIN_ENV, NODE_V8_COVERAGE: '' },
    timeout: HANG_MS,
  });
  assert.is(status, 0, stderr);
  const lines = stdout.trim().split('\n');
  assert.is(lines.length, files.length, stdout);
  return new Map(files.map((file, i) => [file, JSON.parse(lines[i]!)]));
}

/** Every frame came out, and the loops ran from copies or not. */
function check(result: Record<string, PathResult> | string | undefined, copied: boolean): void {
  if (typeof result !== 'object') throw new Error(result ?? 'it did not run');
  for (const [path, { frames }] of Object.entries(result)) assert.is(frames, FRAMES, path);
  const seen = Object.fromEntries(Object.entries(result).map(([path, each]) => [path, each.copied]));
  assert.equal(seen, copied ? COPIED : SHARED);
}

const FORMATS = { esm: 'mjs', cjs: 'cjs' } as const;
const context = { folder: '', results: new Map() as ReturnType<typeof run> };
const bundled = suite('loops bundled by esbuild', context);

function bundlePath(folder: string, name: string, format: keyof typeof FORMATS): string {
  return join(folder, `program${name.replaceAll(' ', '')}.${FORMATS[format]}`);
}

bundled.before((own) => {
  own.folder = makeFolder();
  const files = (['esm', 'cjs'] as const).flatMap((format) =>
    BUNDLES.map(([name, options]) => {
      const outfile = bundlePath(own.folder, name, format);
      // In an ES module the CommonJS package debug would need a `require`.
      const external = format === 'esm' ? ['koffi', 'debug'] : ['koffi'];
      buildSync({
        entryPoints: [PROGRAM],
        outfile,
        bundle: true,
        platform: 'node',
        format,
        external,
        ...options,
      });
      return outfile;
    }),
  );
  own.results = run(files);
});

bundled.after(({ folder }) => rmSync(folder, { recursive: true, force: true }));

for (const format of ['esm', 'cjs'] as const) {
  for (const [name, , copied] of BUNDLES) {
    bundled(
      `${format} ${name}: every frame is forwarded, ${copied ? 'by copies' : 'by shared code'}`,
      (own) => {
        check(own.results.get(bundlePath(own.folder, name, format)), copied);
      },
    );
  }
}

bundled.run();

const instrumented = suite('loops instrumented by Istanbul');

/** Copies the program with all that it imports, and instruments what is of the project. Returns its path. */
function instrument(folder: string): string {
  const { metafile } = buildSync({
    entryPoints: [PROGRAM],
    absWorkingDir: ROOT,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    metafile: true,
    write: false,
  });
  const instrumenter = createInstrumenter({ esModules: true });
  for (const input of Object.keys(metafile.inputs)) {
    const source = readFileSync(join(ROOT, input), 'utf8');
    const path = join(folder, input);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, input.startsWith('dist/src/') ? instrumenter.instrumentSync(source, path) : source);
  }
  return join(folder, relative(ROOT, PROGRAM));
}

instrumented('every frame is forwarded, by shared code', () => {
  const folder = makeFolder();
  try {
    const program = instrument(folder);
    const loop = readFileSync(join(folder, 'dist/src/driver/intel/rx-loop.js'), 'utf8');
    assert.match(loop, /function receive\(bufs, ?max\) ?\{\s*cov_\w+\(\)\.f\[/);
    check(run([program]).get(program), false);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

instrumented('as it is, by copies', () => {
  check(run([PROGRAM]).get(PROGRAM), true);
});

instrumented.run();
