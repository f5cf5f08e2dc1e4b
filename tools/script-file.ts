/**
 * Loads a script of traffic: a module whose default export is what `defineTraffic` of `barewire/traffic` takes. Node.js 22.18 and
 * later run TypeScript as it is; elsewhere `jiti` does, where the script's project has it.
 */
import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { NicError } from '../src/errors.js';
import { defineTraffic, type TrafficScript } from '../src/traffic/index.js';

const CHECK_TIMEOUT_MS = 10_000;

/**
 * @throws NicError `BAD_FILE` where the file is none that can be run, or throws, with the place; `BAD_OPTION` for a script that
 *   cannot be
 */
export async function loadScript(path: string): Promise<TrafficScript> {
  const file = resolve(path);
  // Reading one that is a pipe would wait for ever.
  if (statSync(file, { throwIfNoEntry: false })?.isFile() === false)
    throw new NicError('BAD_FILE', `${path} is not a file`, {
      path,
      hint: 'Name a module of JavaScript or TypeScript.',
    });
  const module = await importScript(path, file);
  const found = module.default;
  if (typeof found !== 'object' || found === null)
    throw new NicError('BAD_FILE', `${path} has no default export with traffic`, {
      path,
      hint: "End it with: export default defineTraffic({ flows: [...] }), which 'barewire/traffic' exports.",
    });
  const script = defineTraffic(found as TrafficScript);
  return {
    ...script,
    ...(script.onTick === undefined ? {} : { onTick: guarded(path, file, script, script.onTick) }),
    ...(script.onFrame === undefined ? {} : { onFrame: guarded(path, file, script, script.onFrame) }),
    ...(script.onPhaseEnd === undefined
      ? {}
      : { onPhaseEnd: guarded(path, file, script, script.onPhaseEnd) }),
  };
}

async function importScript(path: string, file: string): Promise<{ default?: unknown }> {
  try {
    return (await import(pathToFileURL(file).href)) as { default?: unknown };
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ERR_UNKNOWN_FILE_EXTENSION')
      throw explained(path, file, error);
    const jiti = await findJiti(file);
    if (jiti === undefined)
      throw new NicError('BAD_FILE', `Node.js ${process.versions.node} cannot run ${path}`, {
        path,
        hint: 'Node.js 22.18 and later run TypeScript; with an older one name the script .mjs and leave its types out, or npm install jiti beside it.',
      });
    try {
      return await jiti(file);
    } catch (jitiError) {
      throw explained(path, file, jitiError);
    }
  }
}

type Importer = (file: string) => Promise<{ default?: unknown }>;

/** The script's own jiti; undefined where it has none. */
async function findJiti(file: string): Promise<Importer | undefined> {
  let place: string;
  try {
    place = createRequire(file).resolve('jiti');
  } catch {
    return undefined;
  }
  const { createJiti } = (await import(pathToFileURL(place).href)) as {
    createJiti: (from: string) => { import: Importer };
  };
  const jiti = createJiti(file);
  return (name) => jiti.import(name);
}

/** A callback whose errors name the line of the script. */
function guarded<A extends unknown[]>(
  path: string,
  file: string,
  script: TrafficScript,
  callback: (...args: A) => void,
): (...args: A) => void {
  return (...args) => {
    try {
      callback.apply(script, args);
    } catch (error) {
      throw explained(path, file, error);
    }
  };
}

/** An error of the script, with the line where it came about. */
function explained(path: string, file: string, error: unknown): NicError {
  const line = lineIn(file, error);
  const at = line === undefined ? path : `${path}:${line}`;
  const text = error instanceof Error ? `${error.name}: ${error.message}` : `it threw ${String(error)}`;
  const hint = (error as { hint?: unknown }).hint;
  const isMissing = (error as { code?: unknown }).code === 'ERR_MODULE_NOT_FOUND';
  return new NicError('BAD_FILE', `${at}: ${text}`, {
    path,
    cause: error,
    hint:
      typeof hint === 'string'
        ? hint
        : isMissing
          ? "Is the path right? A script that imports 'barewire/traffic' needs: npm install barewire, in its folder."
          : 'Correct the script.',
  });
}

/** From the stack; of an error of syntax, which tells no place, from another look at the file. */
function lineIn(file: string, error: unknown): number | undefined {
  if (error instanceof SyntaxError) return syntaxLine(file);
  const { stack } = error as { stack?: unknown };
  if (typeof stack !== 'string') return undefined;
  for (const line of stack.split('\n')) {
    // "at name (file:///a/b.mjs:2:6)", "at /a/b.ts:2:6", also behind "async".
    const [, place, number] = /(file:\/\/\/[^()\s]+|\/[^()]+?):([0-9]+):[0-9]+\)?$/.exec(line) ?? [];
    if (place === undefined) continue;
    if ((place.startsWith('file:') ? fileURLToPath(place) : place) === file) return Number(number);
  }
  return undefined;
}

/** What `node --check` says in its first line: `/a/b.mjs:2`. */
function syntaxLine(file: string): number | undefined {
  const { stderr } = spawnSync(process.execPath, ['--check', file], {
    encoding: 'utf8',
    timeout: CHECK_TIMEOUT_MS,
  });
  const line = /^.*:([0-9]+)$/.exec(stderr?.split('\n')[0] ?? '')?.[1];
  return line === undefined ? undefined : Number(line);
}
