/** The build: what it leaves in dist/, on a project of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { PLAIN_ENV } from './support/child.js';
import { HANG_MS } from './support/hang.js';
import { suite } from './support/suite.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

const SOURCES = {
  'src/kept.ts': 'export const kept = 1;\n',
  'src/deep/gone.ts': 'export const gone = 2;\n',
};

/** A checkout with this project's build script, and with or without its compiler. */
class Project {
  readonly folder = mkdtempSync(join(tmpdir(), 'bw-build-'));

  constructor({ compiler }: { readonly compiler: boolean }) {
    copyFileSync(join(ROOT, 'build.mjs'), this.path('build.mjs'));
    this.write('package.json', '{ "type": "module" }\n');
    const options = { target: 'es2023', module: 'nodenext', types: [], rootDir: '.', outDir: 'dist' };
    this.write(
      'tsconfig.json',
      JSON.stringify({ compilerOptions: { ...options, sourceMap: true }, include: ['src'] }),
    );
    for (const [path, text] of Object.entries(SOURCES)) this.write(path, text);
    if (compiler) symlinkSync(join(ROOT, 'node_modules'), this.path('node_modules'));
  }

  path(relative: string): string {
    return join(this.folder, relative);
  }

  write(relative: string, text: string): void {
    mkdirSync(dirname(this.path(relative)), { recursive: true });
    writeFileSync(this.path(relative), text);
  }

  async build(...args: string[]): Promise<{ status: number | null; output: string }> {
    const child = spawn(process.execPath, [this.path('build.mjs'), ...args], {
      env: PLAIN_ENV,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: HANG_MS,
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    const [status] = (await once(child, 'close')) as [number | null];
    return { status, output };
  }

  built(): string[] {
    return readdirSync(this.path('dist'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(this.path('dist/').length))
      .sort();
  }
}

function withProject(
  options: { readonly compiler: boolean },
  body: (project: Project) => Promise<void>,
): () => Promise<void> {
  return async () => {
    const project = new Project(options);
    try {
      await body(project);
    } finally {
      rmSync(project.folder, { recursive: true, force: true });
    }
  };
}

const FILES = ['src/deep/gone.js', 'src/kept.js'].flatMap((file) => [file, `${file}.map`]);

const build = suite('build');

build(
  'several at a time: all succeed, and nothing else is left',
  withProject({ compiler: true }, async (project) => {
    const results = await Promise.all([project.build(), project.build(), project.build()]);
    for (const result of results) assert.equal(result, { status: 0, output: '' });
    assert.equal(project.built(), FILES);
    assert.equal(JSON.parse(readFileSync(project.path('dist/src/deep/gone.js.map'), 'utf8')).sources, [
      '../../../src/deep/gone.ts',
    ]);
    assert.equal(
      readdirSync(project.folder).filter((name) => name.startsWith('.')),
      [],
    );
  }),
);

build(
  'what a deleted source left is removed, what is the same is not written again',
  withProject({ compiler: true }, async (project) => {
    assert.is((await project.build()).status, 0);
    const before = statSync(project.path('dist/src/kept.js'));
    rmSync(project.path('src/deep/gone.ts'));
    project.write('dist/test/stale.test.js', '');
    assert.is((await project.build()).status, 0);
    assert.equal(
      project.built(),
      FILES.filter((file) => !file.includes('gone')),
    );
    const after = statSync(project.path('dist/src/kept.js'));
    assert.equal([after.ino, after.mtimeMs], [before.ino, before.mtimeMs]);
  }),
);

build(
  'an error in a source: status 1, and dist stays as it was',
  withProject({ compiler: true }, async (project) => {
    assert.is((await project.build()).status, 0);
    project.write('src/kept.ts', "export const kept: number = 'text';\n");
    const { status, output } = await project.build();
    assert.is(status, 1);
    assert.match(output, 'src/kept.ts');
    assert.match(readFileSync(project.path('dist/src/kept.js'), 'utf8'), 'kept = 1');
    assert.is(project.built().length, FILES.length);
  }),
);

build(
  'the folder of a build that was killed is removed in the end; one that may be in use is not',
  withProject({ compiler: true }, async (project) => {
    project.write('.build-old/x.js', '');
    project.write('.build-new/x.js', '');
    utimesSync(project.path('.build-old'), new Date(0), new Date(0));
    assert.is((await project.build()).status, 0);
    assert.equal(
      readdirSync(project.folder).filter((name) => name.startsWith('.')),
      ['.build-new'],
    );
  }),
);

build(
  'without TypeScript: an error, or only said where it is optional',
  withProject({ compiler: false }, async (project) => {
    for (const [args, status] of [
      [[], 1],
      [['--optional'], 0],
    ] as const) {
      const result = await project.build(...args);
      assert.is(result.status, status);
      assert.match(result.output, /^not built: TypeScript is not installed \(.*npm ci.*\)\n$/);
    }
    assert.not.ok(existsSync(project.path('dist')));
  }),
);

build.run();
