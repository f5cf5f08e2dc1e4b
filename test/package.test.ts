/** What would be published: the files, the entry points, the command. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import * as assert from 'uvu/assert';
import { suite } from './support/suite.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

interface Manifest {
  readonly version: string;
  readonly bin: Record<string, string>;
  readonly exports: Record<string, string | Record<string, string>>;
  readonly dependencies: Record<string, string>;
}

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest;

/** Paths in the tarball. The build is not run: it is what the tests run from. */
function packedFiles(): string[] {
  const { status, stdout, stderr } = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  assert.is(status, 0, stderr);
  const [packed] = JSON.parse(stdout) as [{ files: { path: string }[] }];
  return packed.files.map(({ path }) => path);
}

const packed = packedFiles();
const published = suite('package');

published('holds the build of src and tools, licence and manifest, and no tests', () => {
  const allowed =
    /^((bin|dist\/(src|tools)|docs|examples)\/|(CHANGELOG|CONTRIBUTING|README)\.md$|LICENSE$|package\.json$)/;
  assert.equal(
    packed.filter((path) => !allowed.test(path)),
    [],
  );
  assert.equal(
    packed.filter((path) => /\.test\.|\/(test|bench|lab)\//.test(path)),
    [],
  );
  for (const path of ['package.json', 'LICENSE', 'dist/src/index.js', 'dist/src/index.d.ts']) {
    assert.ok(packed.includes(path), path);
  }
});

published('each entry point is in it, and can be imported and required', async () => {
  const require = createRequire(import.meta.url);
  for (const [subpath, target] of Object.entries(manifest.exports)) {
    const files = typeof target === 'string' ? [target] : Object.values(target);
    for (const file of files) assert.ok(packed.includes(file.replace('./', '')), file);
    if (typeof target === 'string') continue;
    assert.equal(
      Object.keys(target),
      ['types', 'default'],
      'types first, and one file for import and require',
    );
    // By its own name, as a user would.
    const name = join('barewire', subpath);
    const imported = (await import(import.meta.resolve(name))) as Record<string, unknown>;
    assert.ok(Object.keys(imported).length > 0, name);
    // Fails where a module has an await at its top level.
    assert.is(require(name), imported, name);
  }
});

published('links between its pages lead to what is in it', () => {
  const pages = packed.filter((path) => path.endsWith('.md'));
  const links = pages.flatMap((page) => {
    const text = readFileSync(join(ROOT, page), 'utf8');
    return Array.from(text.matchAll(/\]\(([^)\s#]+)[^)]*\)|\b(?:src|href)="([^"#]+)[^"]*"/g), (match) => ({
      page,
      target: (match[1] ?? match[2])!,
    }));
  });
  assert.ok(links.some(({ page, target }) => page === 'README.md' && target === 'docs/architecture.md'));
  assert.equal(
    links.filter(
      ({ page, target }) => !/^https?:/.test(target) && !packed.includes(join(page, '..', target)),
    ),
    [],
  );
});

published('what it imports at run time is among its dependencies, each used', () => {
  const used = new Set<string>();
  for (const path of packed.filter((file) => file.endsWith('.js'))) {
    const source = readFileSync(join(ROOT, path), 'utf8');
    for (const [, name] of source.matchAll(/^(?:import|export) (?:[^'\n]* from )?'([^'.][^']*)'/gm)) {
      if (!name!.startsWith('node:')) used.add(name!);
    }
  }
  assert.equal([...used].sort(), Object.keys(manifest.dependencies).sort());
});

published('relative imports stay inside', () => {
  for (const path of packed.filter((file) => /\.(js|d\.ts)$/.test(file))) {
    const source = readFileSync(join(ROOT, path), 'utf8');
    for (const [, target] of source.matchAll(/from '(\.[^']*)'/g)) {
      assert.ok(packed.includes(join(path, '..', target!)), `${path} imports ${target}`);
    }
  }
});

published('the command is a script that Node.js runs, and tells the version', () => {
  for (const path of Object.values(manifest.bin)) {
    assert.ok(packed.includes(path), path);
    assert.is(statSync(join(ROOT, path)).mode & 0o111, 0o111, 'can be executed');
    assert.match(readFileSync(join(ROOT, path), 'utf8'), /^#!\/usr\/bin\/env node\n/);
    const { stdout } = spawnSync(process.execPath, [join(ROOT, path), '--version'], { encoding: 'utf8' });
    assert.is(stdout, `${manifest.version}\n`);
  }
});

published('the command says so where nothing is built yet', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bw-package-'));
  try {
    cpSync(join(ROOT, 'bin'), join(folder, 'bin'), { recursive: true });
    cpSync(join(ROOT, 'package.json'), join(folder, 'package.json'));
    const command = join(folder, manifest.bin.barewire!);
    const { status, stdout, stderr } = spawnSync(process.execPath, [command, 'list'], { encoding: 'utf8' });
    assert.equal([status, stdout], [1, '']);
    assert.match(stderr, /^barewire: not built yet\nhint: .*npm ci.*\n$/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

published('publint finds nothing', async () => {
  const files = packed.map((path) => ({
    name: join('package', path),
    data: new Uint8Array(readFileSync(join(ROOT, path))).buffer,
  }));
  const { messages, pkg } = await publint({ pkgDir: 'package', pack: { files }, strict: true });
  assert.equal(
    messages.map((message) => formatMessage(message, pkg!) ?? message.code),
    [],
  );
});

published.run();
