/** The direction of imports (docs/architecture.md, "Layers"): down the list only, and koffi in one folder. */
import { dirname, join } from 'node:path';
import * as assert from 'uvu/assert';
import { codeOf, readSource, sourcesIn } from './support/sources.js';
import { suite } from './support/suite.js';

interface Import {
  readonly from: string;
  /** Path from the root without extension for a file of ours, else a package. */
  readonly to: string;
  readonly isFile: boolean;
  readonly typeOnly: boolean;
}

/** What everything may import: one class of errors, checks of options, time, and what to do with one CPU. */
const BASE = /^src\/(errors|options|clock|one-cpu)$/;

/** What the files of a folder may import, by the start of the path. The first rule that fits a file counts. */
const RULES: readonly { readonly files: RegExp; readonly may: readonly RegExp[] }[] = [
  { files: /^tools\//, may: [/^tools\//, /^src\//] },
  {
    // The entry points of the package.
    files: /^src\/index$/,
    may: [/^src\/(forward|driver|hugepage)\//, BASE],
  },
  {
    files: /^src\/forward\//,
    may: [/^src\/forward\//, /^src\/driver\/[^/]+$/, /^src\/(packet|hugepage)\//, BASE],
  },
  {
    files: /^src\/traffic\//,
    may: [/^src\/(traffic|forward|capture|packet|hugepage)\//, /^src\/driver\/[^/]+$/, BASE],
  },
  {
    // What any model needs knows none.
    files: /^src\/emulator\/device\//,
    may: [
      /^src\/emulator\/(device\/|link$)/,
      /^src\/vfio\/user\//,
      /^src\/vfio\/types$/,
      /^src\/pci\/registers$/,
      /^src\/syscalls\//,
      BASE,
    ],
  },
  {
    // The model is a second reading of the datasheet: it must not see the driver's.
    files: /^src\/emulator\//,
    may: [
      /^src\/(emulator|packet|capture|hugepage|syscalls)\//,
      /^src\/pci\/(registers|ids)$/,
      /^src\/vfio\/user\//,
      /^src\/vfio\/types$/,
      BASE,
    ],
  },
  {
    // A filter becomes a program of the kernel's.
    files: /^src\/driver\/xdp\//,
    may: [/^src\/capture\/filter\/index$/, /^src\/(driver|packet|hugepage|vfio|pci|syscalls)\//, BASE],
  },
  {
    files: /^src\/driver\//,
    may: [/^src\/(driver|packet|hugepage|vfio|pci|syscalls)\//, BASE],
  },
  // Bytes in, bytes out.
  { files: /^src\/capture\//, may: [/^src\/(capture|packet)\//, BASE] },
  { files: /^src\/packet\//, may: [/^src\/packet\//, BASE] },
  {
    files: /^src\/hugepage\//,
    may: [/^src\/(hugepage|syscalls)\//, /^src\/vfio\/(types|iova-ranges)$/, BASE],
  },
  { files: /^src\/vfio\//, may: [/^src\/(vfio|pci|syscalls)\//, BASE] },
  { files: /^src\/pci\//, may: [/^src\/(pci|syscalls)\//, BASE] },
  { files: /^src\/syscalls\//, may: [/^src\/syscalls\//, BASE] },
  { files: BASE, may: [BASE] },
];

/** Packages, and the only files that may import them. `debug` and Node's own may be imported by all. */
const PACKAGES: Readonly<Record<string, RegExp>> = {
  koffi: /^src\/syscalls\//,
  commander: /^tools\//,
  debug: /./,
};

/** A family of NICs is a folder of drivers. Only itself and the registry import from it, and families that are built on it. */
const FAMILY = /^src\/driver\/([^/]+)\//;
/** Where families are named: the registries of drivers and of models, and the names of PCI IDs for people. */
const REGISTRIES = /^src\/(driver\/registry|emulator\/models|pci\/ids)\.ts$/;
const REGISTRY = 'src/driver/registry';
const BUILT_ON: Readonly<Record<string, string>> = {
  igb: 'intel',
  igbvf: 'intel',
  e1000e: 'intel',
  ixgbe: 'intel',
};
/** So have families of models, and only the registry names one. */
const MODEL = /^src\/emulator\/(?!device\/|links\/)([^/]+)\//;

function importsOf(file: string, source: string): Import[] {
  const code = codeOf(source);
  const from = file.replace(/\.ts$/, '');
  const statements = code.matchAll(
    /\b(?:import|export)\s+(type\s)?([^'";]*?)\bfrom\s*'([^']+)'|\bimport\s*\(?\s*'([^']+)'/g,
  );
  return Array.from(statements, ([, type, names, target, bare]) => {
    const specifier = (target ?? bare)!;
    const isFile = specifier.startsWith('.');
    const to = isFile ? join(dirname(file), specifier).replace(/\.js$/, '') : specifier;
    const listed = /^\s*\{([\s\S]*)\}\s*$/
      .exec(names ?? '')?.[1]
      ?.split(',')
      .filter((name) => name.trim() !== '');
    const typeOnly = type !== undefined || (listed?.every((name) => /^\s*type\s/.test(name)) ?? false);
    return { from, to, isFile, typeOnly };
  });
}

function violation({ from, to, isFile, typeOnly }: Import): string | undefined {
  const says = `${from} imports ${to}`;
  if (!isFile) {
    if (to.startsWith('node:')) return undefined;
    return PACKAGES[to]?.test(from) ? undefined : says;
  }
  const rule = RULES.find(({ files }) => files.test(from));
  if (rule === undefined) return `${from} is in no layer`;
  if (!rule.may.some((allowed) => allowed.test(to))) return says;
  if (from.startsWith('src/hugepage/') && to === 'src/vfio/types' && !typeOnly)
    return `${says}, not as a type`;
  const model = MODEL.exec(to)?.[1];
  if (model !== undefined && from !== 'src/emulator/models' && MODEL.exec(from)?.[1] !== model) return says;
  const [mine, theirs] = [FAMILY.exec(from)?.[1], FAMILY.exec(to)?.[1]];
  if (theirs === undefined || theirs === mine || from === REGISTRY) return undefined;
  return mine !== undefined && BUILT_ON[mine] === theirs ? undefined : says;
}

function violationsOf(file: string, source: string): string[] {
  return importsOf(file, source).flatMap((entry) => violation(entry) ?? []);
}

/** A round of imports that are there at run time, or undefined. */
function findCycle(imports: readonly Import[]): string[] | undefined {
  const next = new Map<string, string[]>();
  for (const { from, to, isFile, typeOnly } of imports) {
    if (isFile && !typeOnly) next.set(from, [...(next.get(from) ?? []), to]);
  }
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return undefined;
    for (const to of next.get(file) ?? []) {
      const cycle = visit(to, [...path, file]);
      if (cycle !== undefined) return cycle;
    }
    done.add(file);
    return undefined;
  };
  for (const file of next.keys()) {
    const cycle = visit(file, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

const files = sourcesIn(['src', 'tools']);
const imports = suite('imports');

imports('the sources are found', () => {
  assert.ok(files.length > 50, `${files.length} files`);
  assert.ok(files.includes('src/driver/intel/rx-queue.ts'));
  const all = files.flatMap((file) => importsOf(file, readSource(file)));
  assert.ok(all.length > 2 * files.length, `${all.length} imports`);
});

imports('go down the layers only', () => {
  assert.equal(
    files.flatMap((file) => violationsOf(file, readSource(file))),
    [],
  );
});

imports('no code outside a family and the registries names a family', () => {
  const families = new Set(files.flatMap((file) => FAMILY.exec(file)?.[1] ?? MODEL.exec(file)?.[1] ?? []));
  assert.ok(families.has('ixgbe') && families.has('intel'));
  // A bus of the kernel's as well, which sysfs shows between a PCI function and its interface.
  families.delete('virtio');
  const names = new RegExp(`\\b(${[...families].join('|')})\\b`, 'i');
  for (const file of files) {
    if (FAMILY.test(file) || MODEL.test(file) || REGISTRIES.test(file)) continue;
    assert.not.match(codeOf(readSource(file)), names, file);
  }
});

imports('what is imported exists', () => {
  const known = new Set(files.map((file) => file.replace(/\.ts$/, '')));
  for (const file of files) {
    for (const { to, isFile } of importsOf(file, readSource(file))) {
      if (isFile) assert.ok(known.has(to), `${file} imports ${to}`);
    }
  }
});

imports('make no circle', () => {
  assert.is(findCycle(files.flatMap((file) => importsOf(file, readSource(file)))), undefined);
});

for (const [file, source, says] of [
  ['src/emulator/x.ts', "import { a } from '../driver/device.js';", 'src/driver/device'],
  ['src/emulator/x.ts', "import type { a } from '../driver/device.js';", 'src/driver/device'],
  ['src/emulator/x.ts', "import { a } from '../vfio/open.js';", 'src/vfio/open'],
  ['src/emulator/ixgbe/x.ts', "import {\n  a,\n  b,\n} from '../../driver/ixgbe/registers.js';", 'registers'],
  ['src/emulator/device/x.ts', "import { a } from '../model.js';", 'emulator/model'],
  ['src/emulator/x.ts', "import { a } from './ixgbe/ixgbe-model.js';", 'ixgbe'],
  ['src/emulator/igb/x.ts', "import { a } from '../ixgbe/registers.js';", 'ixgbe'],
  ['tools/x.ts', "import { a } from '../src/emulator/ixgbe/ixgbe-model.js';", 'ixgbe'],
  ['src/driver/x.ts', "import { a } from '../emulator/model.js';", 'emulator'],
  ['src/driver/x.ts', "const a = await import('../emulator/model.js');", 'emulator'],
  ['src/driver/igb/x.ts', "import { a } from '../ixgbe/registers.js';", 'ixgbe'],
  ['src/driver/x.ts', "import { a } from './ixgbe/registers.js';", 'ixgbe'],
  ['src/driver/new/x.ts', "import { a } from '../intel/descriptors.js';", 'intel'],
  ['src/driver/intel/x.ts', "import { a } from '../igb/registers.js';", 'igb'],
  ['src/forward/x.ts', "import { a } from '../driver/intel/rx-queue.js';", 'intel'],
  ['src/forward/x.ts', "import type { a } from '../emulator/link.js';", 'emulator'],
  ['src/traffic/x.ts', "import { a } from '../emulator/link.js';", 'emulator'],
  ['src/forward/x.ts', "import { a } from '../traffic/sender.js';", 'traffic'],
  ['src/packet/x.ts', "import { a } from '../hugepage/packet-pool.js';", 'hugepage'],
  ['src/capture/x.ts', "import { a } from '../syscalls/memory.js';", 'syscalls'],
  ['src/index.ts', "import { a } from './driver/ixgbe/ixgbe.js';", 'ixgbe'],
  ['tools/x.ts', "import { a } from '../src/driver/igb/igb.js';", 'igb'],
  ['src/driver/x.ts', "import koffi from 'koffi';", 'koffi'],
  ['src/hugepage/x.ts', "import { type A, b } from '../vfio/types.js';", 'not as a type'],
  ['src/hugepage/x.ts', "import { A } from '../driver/device.js';", 'driver'],
  ['src/vfio/x.ts', "import { A } from '../hugepage/packet-pool.js';", 'hugepage'],
  ['src/pci/x.ts', "export { A } from '../vfio/types.js';", 'vfio'],
  ['src/pci/x.ts', "import { A } from '../../tools/output.js';", 'tools'],
  ['src/pci/x.ts', "import '../../test/pci/fake-sysfs.js';", 'test'],
  ['tools/x.ts', "import { A } from '../test/tools/run-cli.js';", 'test'],
  ['src/errors.ts', "import { A } from './syscalls/memory.js';", 'syscalls'],
  ['src/driver/x.ts', "import fc from 'fast-check';", 'fast-check'],
  ['src/new/x.ts', "import { A } from '../errors.js';", 'in no layer'],
] as const) {
  imports(`planted: ${file}: ${source.replace(/\s+/g, ' ')}`, () => {
    const found = violationsOf(file, source);
    assert.is(found.length, 1);
    assert.match(found[0]!, says);
  });
}

imports('planted: what is allowed', () => {
  const allowed = `
    import { type A, type B } from '../vfio/types.js';
    import type { C } from '../vfio/types.js';
    import { D } from '../syscalls/memory.js';
    import createDebug from 'debug';
    import { E } from 'node:fs';
    // import { F } from '../driver/device.js';
    /* import { G } from '../driver/device.js'; */
  `;
  assert.equal(violationsOf('src/hugepage/x.ts', allowed), []);
});

imports('planted: a circle', () => {
  const link = (from: string, to: string, typeOnly = false): Import => ({ from, to, isFile: true, typeOnly });
  assert.equal(findCycle([link('a', 'b'), link('b', 'c'), link('c', 'b')]), ['b', 'c', 'b']);
  assert.is(findCycle([link('a', 'b'), link('b', 'c'), link('c', 'b', true)]), undefined);
});

imports.run();
