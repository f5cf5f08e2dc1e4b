/**
 * Samples in doc comments: each `@example` of what the entry points export, members included, and of the entry points
 * themselves. It may leave out the imports from the package, and use the names of the stage without declaring them.
 */
import ts from 'typescript5';
import type { Sample } from './markdown-samples.js';

/** What an example may take for granted, as in a text that has spoken of it. */
const STAGE: Readonly<Record<string, string>> = {
  nic: "import('barewire').NetDevice",
  a: "import('barewire').NetDevice",
  b: "import('barewire').NetDevice",
  pool: "import('barewire').PacketPool",
  forwarder: "import('barewire').Forwarder",
  packet: 'number',
  lengthBytes: 'number',
  frame: 'Uint8Array',
  signal: 'AbortSignal',
  nicA: "Parameters<typeof import('barewire/emulator').connect>[0]",
  nicB: "Parameters<typeof import('barewire/emulator').connect>[1]",
};

export interface EntryPoint {
  /** As it is imported: `barewire`, `barewire/packet`. */
  readonly specifier: string;
  /** Path of its declarations. */
  readonly types: string;
}

/** @throws Error where the declarations cannot be read */
export function docExamples(entryPoints: readonly EntryPoint[]): Sample[] {
  const program = ts.createProgram(
    entryPoints.map(({ types }) => types),
    { target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.NodeNext, types: [], noLib: true },
  );
  const checker = program.getTypeChecker();
  const exported = entryPoints.map(({ specifier, types }) => {
    const file = program.getSourceFile(types);
    const module = file && checker.getSymbolAtLocation(file);
    if (module === undefined) throw new Error(`${types} cannot be read, or exports nothing`);
    return { specifier, file: file!, symbols: checker.getExportsOfModule(module) };
  });
  const values = new Map<string, string>();
  for (const { specifier, symbols } of exported) {
    for (const symbol of symbols) {
      if (resolved(checker, symbol).flags & ts.SymbolFlags.Value && !values.has(symbol.name))
        values.set(symbol.name, specifier);
    }
  }
  const seen = new Set<ts.Node>();
  return exported.flatMap(({ specifier, file, symbols }) => [
    ...examplesOf([file.statements[0]!], seen).map((code, i) => sample(`${specifier}-${i}`, code, values)),
    ...symbols.flatMap((symbol) =>
      examplesOf(declarationsOf(checker, resolved(checker, symbol)), seen).map((code, i) =>
        sample(`${specifier}-${symbol.name}-${i}`, code, values),
      ),
    ),
  ]);
}

function resolved(checker: ts.TypeChecker, symbol: ts.Symbol): ts.Symbol {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
}

/** Where a symbol is declared, and where its members are, inherited and static ones included. */
function declarationsOf(checker: ts.TypeChecker, symbol: ts.Symbol): ts.Node[] {
  const members = [
    ...(symbol.flags & ts.SymbolFlags.Type ? checker.getDeclaredTypeOfSymbol(symbol).getProperties() : []),
    ...(symbol.exports?.values() ?? []),
  ];
  return [symbol, ...members].flatMap(({ declarations }) => declarations ?? []);
}

/** The code of the `@example` tags of these declarations, those in `seen` left out. */
function examplesOf(nodes: readonly ts.Node[], seen: Set<ts.Node>): string[] {
  const codes: string[] = [];
  for (const node of nodes) {
    // A constant's comment is at its statement.
    const holder = ts.isVariableDeclaration(node) ? node.parent.parent : node;
    if (seen.has(holder)) continue;
    seen.add(holder);
    for (const comment of ts.getJSDocCommentsAndTags(holder)) {
      if (!ts.isJSDoc(comment)) continue;
      for (const tag of comment.tags ?? []) {
        if (tag.tagName.text === 'example') codes.push(codeOf(tag));
      }
    }
  }
  return codes;
}

/** The text behind `@example`, without the stars of the comment and the fence that may be around it. */
function codeOf(tag: ts.JSDocTag): string {
  return tag
    .getText()
    .replace(/^@example\s*/, '')
    .split('\n')
    .map((line) => line.replace(/^\s*\* ?/, ''))
    .filter((line) => !/^\s*```/.test(line))
    .join('\n')
    .trim();
}

function sample(name: string, code: string, values: ReadonlyMap<string, string>): Sample {
  const imports: string[] = code.match(/^import\b[^;]*;/gm) ?? [];
  const body = code.replaceAll(/^import\b[^;]*;\n?/gm, '');
  const imported = new Set(imports.join(' ').match(/\w+/g));
  const named = new Set(body.match(/(?<![\w.])[A-Za-z_]\w*/g)); // without members
  for (const [value, specifier] of values) {
    if (named.has(value) && !imported.has(value)) imports.push(`import { ${value} } from '${specifier}';`);
  }
  const stage = Object.entries(STAGE).map(([variable, type]) => `${variable}: ${type}`);
  return {
    name: name.replaceAll('/', '-'),
    // Names of the stage are parameters, so that an example may declare its own of the same name in the block.
    code: `${imports.join('\n')}\nexport async function example(${stage.join(', ')}) {{\n${body}\n}}\n`,
    commonJs: false,
  };
}
