/**
 * A folder in which the packed tarball is installed, with projects in it as `npm init` and `tsc --init` make them. No
 * network: dependencies are linked from this checkout.
 *
 *     node_modules/barewire               the tarball's content; its dependencies beside it
 *     plain/                              projects without the types of Node.js
 *     node/node_modules/@types/node       and here those with them
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HANG_MS } from '../support/hang.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const MODULES = join(ROOT, 'node_modules');

/** Names of packages here that are a TypeScript compiler. */
export type Compiler = 'typescript' | 'typescript5';

/** What `type` in package.json says. */
export type ProjectType = 'module' | 'commonjs';

export interface Outcome {
  readonly status: number | null;
  /** Standard output and standard error. */
  readonly output: string;
}

export class PackedProject {
  readonly folder = mkdtempSync(join(tmpdir(), 'bw-packed-'));
  /** Where the package is installed. */
  readonly installed = join(this.folder, 'node_modules', 'barewire');

  /** @throws Error where it cannot be packed */
  constructor() {
    try {
      mkdirSync(join(this.folder, 'node_modules'));
      mkdirSync(join(this.folder, 'plain'));
      this.#install();
      link('@types/node', join(this.folder, 'node'));
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  /** Packs, and unpacks to where npm would. */
  #install(): void {
    // Built already: the tests run from it.
    const packed = checked('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', this.folder]);
    const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
    checked('tar', ['-xzf', join(this.folder, filename), '-C', this.folder]);
    checked('mv', [join(this.folder, 'package'), this.installed]);
    const { dependencies } = JSON.parse(readFileSync(join(this.installed, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>;
    };
    for (const name of Object.keys(dependencies)) link(name, this.folder);
  }

  /**
   * Makes a project with the compiler's default settings.
   * @param withNodeTypes whether `@types/node` is installed and `"types": ["node"]` set, as README says
   * @param name of its folder
   */
  async project(
    compiler: Compiler,
    type: ProjectType,
    {
      withNodeTypes,
      name = `${compiler}-${type}`,
    }: { readonly withNodeTypes: boolean; readonly name?: string },
  ): Promise<Project> {
    const folder = join(this.folder, withNodeTypes ? 'node' : 'plain', name);
    mkdirSync(folder);
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'project', private: true, type }));
    const project = new Project(folder, compiler, type);
    const { status, output } = await project.tsc('--init');
    if (status !== 0) throw new Error(`tsc --init: ${output}`);
    if (withNodeTypes) project.configure('"types": []', '"types": ["node"]');
    return project;
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class Project {
  readonly folder: string;
  readonly type: ProjectType;
  readonly #compiler: string;

  constructor(folder: string, compiler: Compiler, type: ProjectType) {
    this.folder = folder;
    this.type = type;
    this.#compiler = join(MODULES, compiler, 'bin', 'tsc');
  }

  write(file: string, text: string): void {
    writeFileSync(join(this.folder, file), text);
  }

  /** Changes a line of tsconfig.json. @throws Error where it is not there, once */
  configure(from: string, to: string): void {
    const file = join(this.folder, 'tsconfig.json');
    const parts = readFileSync(file, 'utf8').split(from);
    if (parts.length !== 2) throw new Error(`tsconfig.json has ${from} ${parts.length - 1} times`);
    writeFileSync(file, parts.join(to));
  }

  /** Compiles all files; what it makes is beside them. */
  tsc(...args: string[]): Promise<Outcome> {
    return this.run(this.#compiler, ...args);
  }

  /** Runs Node.js in the project. */
  async run(...args: string[]): Promise<Outcome> {
    const { NODE_V8_COVERAGE: _, ...env } = process.env;
    const child = spawn(process.execPath, args, {
      cwd: this.folder,
      env: { ...env, FORCE_COLOR: '0' },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: HANG_MS,
      killSignal: 'SIGKILL',
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
}

/** Makes a package of this checkout visible in a folder. */
function link(name: string, folder: string): void {
  const path = join(folder, 'node_modules', name);
  mkdirSync(dirname(path), { recursive: true });
  symlinkSync(join(MODULES, name), path);
}

function checked(command: string, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: ROOT, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${status}\n${stderr}`);
  return stdout;
}
