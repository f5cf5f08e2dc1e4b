/** The samples in README, docs and doc comments compile and run in projects that installed the packed package. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { PLAIN_ENV } from '../support/child.js';
import { HANG_MS } from '../support/hang.js';
import { suite } from '../support/suite.js';
import { docExamples, type EntryPoint } from './doc-examples.js';
import { markdownSamples, type Sample } from './markdown-samples.js';
import { type Compiler, PackedProject, type ProjectType } from './packed-project.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const COMPILERS: readonly Compiler[] = ['typescript5', 'typescript'];
const TYPES: readonly ProjectType[] = ['module', 'commonjs'];

const extraction = suite('samples in Markdown');

extraction('a block with imports is a program, others continue it, at the lines of the page', () => {
  const page = [
    '# Page', // 1
    '```ts',
    "import { open } from 'barewire';", // 3
    '```',
    'text, and what is no TypeScript:',
    '```sh', // 6
    'import nothing',
    '```',
    '- in a list',
    '  ```ts', // 10
    '  await open();',
    '  ```',
    '```ts',
    "import barewire = require('barewire');", // 14
    '```',
  ].join('\n');
  const samples = markdownSamples('docs/page.md', page);
  assert.equal(
    samples.map(({ name, commonJs }) => [name, commonJs]),
    [
      ['docs-page-md-2', false],
      ['docs-page-md-13', true],
    ],
  );
  assert.equal(samples[0]!.code.split('\n'), [
    '',
    '',
    "import { open } from 'barewire';",
    ...Array.from({ length: 7 }, () => ''),
    'await open();',
    '',
  ]);
});

extraction('a block that continues nothing, and one without an end', () => {
  assert.throws(() => markdownSamples('x.md', 'text\n```ts\nawait open();\n```'), 'x.md:3');
  assert.throws(() => markdownSamples('x.md', '```ts\nawait open();'), 'x.md:1');
});

extraction.run();

/** Extension of the file that a sample is put in: an ES module needs `.mts` in a CommonJS project. */
function extension(sample: Sample, type: ProjectType): string {
  if (sample.commonJs) return type === 'commonjs' ? 'ts' : 'cts';
  return type === 'commonjs' ? 'mts' : 'ts';
}

function pageSamples(): Sample[] {
  const docs = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'));
  return ['README.md', ...docs.map((name) => `docs/${name}`)].flatMap((page) =>
    markdownSamples(page, readFileSync(join(ROOT, page), 'utf8')),
  );
}

function entryPoints(installed: string): EntryPoint[] {
  const { exports } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as {
    exports: Record<string, string | { types: string }>;
  };
  return Object.entries(exports).flatMap(([subpath, target]) =>
    typeof target === 'string'
      ? []
      : { specifier: join('barewire', subpath), types: join(installed, target.types) },
  );
}

/** A program of each kind that opens a port, and prints its model. */
const RUNNING: Readonly<Record<ProjectType, string>> = {
  module: `import { open } from 'barewire';
const nic = await open(process.argv[2]!, { pageSize: '4K' });
console.log(nic.model);
await nic.close();
`,
  commonjs: `import barewire = require('barewire');
async function main(): Promise<void> {
  const nic = await barewire.open(process.argv[2]!, { pageSize: '4K' });
  console.log(nic.model);
  await nic.close();
}
void main();
`,
};

const compiled = suite('samples in a project with the packed package');

/** Serves a port with the installed command, and ends it. */
async function withEmulatedPort(
  packed: PackedProject,
  body: (address: string) => Promise<void>,
): Promise<void> {
  const socket = join(packed.folder, 'port.sock');
  const command = join(packed.installed, 'bin', 'barewire.js');
  const emulator = spawn(command, ['emulate', '--ports', '1', '--link', 'none', '--socket', socket], {
    env: PLAIN_ENV,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: HANG_MS,
    killSignal: 'SIGKILL',
  });
  const ended = once(emulator, 'close') as Promise<[number | null]>;
  try {
    // It prints the address when it serves it; an end without that is an error.
    const [text] = await Promise.race([once(emulator.stdout.setEncoding('utf8'), 'data'), ended]);
    assert.is(text, `port 0: vfio-user:${socket}\n`);
    await body(`vfio-user:${socket}`);
    emulator.kill('SIGTERM');
    assert.is((await ended)[0], 0);
  } finally {
    emulator.kill('SIGKILL');
    await ended;
  }
}

let packed: PackedProject | undefined;
let samples: readonly Sample[] | undefined;

/** Packs and installs, once. Not a hook: what fails in there is not told. */
function prepare(): { readonly packed: PackedProject; readonly samples: readonly Sample[] } {
  packed ??= new PackedProject();
  samples ??= [...pageSamples(), ...docExamples(entryPoints(packed.installed))];
  return { packed, samples };
}
compiled.after(() => packed?.remove());

compiled('there are some of each kind', () => {
  const { samples } = prepare();
  for (const kind of [/^README-/, /^barewire-\d/, /^barewire-open-/]) {
    assert.ok(
      samples.some(({ name }) => kind.test(name)),
      `${kind}`,
    );
  }
  assert.ok(samples.some(({ commonJs }) => commonJs));
  assert.is(new Set(samples.map(({ name }) => name)).size, samples.length, 'each has a name of its own');
});

compiled('the declarations need neither skipLibCheck nor the types of Node.js', async () => {
  const { packed } = prepare();
  const project = await packed.project('typescript', 'module', { withNodeTypes: false });
  project.configure('"skipLibCheck": true', '"skipLibCheck": false');
  const imports = entryPoints(packed.installed).map(
    ({ specifier }, i) => `export * as entry${i} from '${specifier}';\n`,
  );
  project.write('all.ts', imports.join(''));
  const { status, output } = await project.tsc('--noEmit', '--pretty', 'false');
  assert.is(status, 0, output);
});

for (const type of TYPES) {
  for (const compiler of COMPILERS) {
    compiled(`${compiler}, "type": "${type}": all compile with the settings of tsc --init`, async () => {
      const { packed, samples } = prepare();
      const project = await packed.project(compiler, type, { withNodeTypes: true });
      for (const sample of samples) project.write(`${sample.name}.${extension(sample, type)}`, sample.code);
      const { status, output } = await project.tsc('--pretty', 'false');
      assert.is(status, 0, output);
    });
  }

  compiled(`"type": "${type}": a program runs, on a port of the command that was installed`, async () => {
    const { packed } = prepare();
    const options = { withNodeTypes: true, name: `running-${type}` };
    const project = await packed.project('typescript', type, options);
    project.write('running.ts', RUNNING[type]);
    const { status, output } = await project.tsc('--pretty', 'false');
    assert.is(status, 0, output);
    await withEmulatedPort(packed, async (address) => {
      const ran = await project.run('running.js', address);
      assert.equal(ran, { status: 0, output: 'Intel 82599 SFP+ (X520)\n' });
    });
  });
}

/** The first version of Node.js that knows `await using`. */
const USING_SINCE = 24;

compiled(
  'this version of Node.js understands what is made of them, with the target that README names',
  async () => {
    const { packed, samples } = prepare();
    const project = await packed.project('typescript', 'module', { withNodeTypes: true, name: 'parsed' });
    if (Number.parseInt(process.versions.node, 10) < USING_SINCE)
      project.configure('"target": "esnext"', '"target": "es2023"');
    for (const sample of samples) project.write(`${sample.name}.mts`, sample.commonJs ? '' : sample.code);
    const { status, output } = await project.tsc('--pretty', 'false');
    assert.is(status, 0, output);
    // Parses each, runs none.
    project.write(
      'parse.mjs',
      `import { readFileSync } from 'node:fs';
       import { SourceTextModule } from 'node:vm';
       for (const file of process.argv.slice(2)) new SourceTextModule(readFileSync(file, 'utf8'), { identifier: file });`,
    );
    const files = samples.map(({ name }) => `${name}.mjs`);
    const parsed = await project.run('--no-warnings', '--experimental-vm-modules', 'parse.mjs', ...files);
    assert.equal(parsed, { status: 0, output: '' });
  },
);

compiled.run();
