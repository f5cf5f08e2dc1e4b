/**
 * Samples in Markdown: fenced blocks of TypeScript. A block that begins with an import is a program; any other continues
 * the one before it. A program is kept at the lines where the page has it, so that an error of the compiler names the
 * page's line.
 */

/** A program to be compiled. */
export interface Sample {
  /** Name of its file, without extension. */
  readonly name: string;
  readonly code: string;
  /** Written for CommonJS: it begins with `import x = require(...)`. */
  readonly commonJs: boolean;
}

interface Block {
  /** Of the first line of code, counted from 0. */
  readonly line: number;
  readonly code: readonly string[];
}

/** @throws Error for a block that continues nothing, or has no end */
export function markdownSamples(page: string, text: string): Sample[] {
  const programs: Block[][] = [];
  for (const block of typescriptBlocks(page, text)) {
    if (/^import\b/.test(firstStatement(block))) programs.push([block]);
    else if (programs.length > 0) programs.at(-1)!.push(block);
    else throw new Error(`${page}:${block.line + 1}: the first sample of a page begins with its imports`);
  }
  return programs.map((blocks) => {
    const lines: string[] = [];
    for (const { line, code } of blocks) {
      while (lines.length < line) lines.push('');
      lines.push(...code);
    }
    return {
      name: `${page.replaceAll(/[^A-Za-z0-9]+/g, '-')}-${blocks[0]!.line}`,
      code: `${lines.join('\n')}\n`,
      commonJs: /^import \w+ = require\(/.test(firstStatement(blocks[0]!)),
    };
  });
}

function typescriptBlocks(page: string, text: string): Block[] {
  const lines = text.split('\n');
  const blocks: Block[] = [];
  for (let i = 0; i < lines.length; i++) {
    const [, indent, fence, language] = /^( *)(`{3,})(\w*)/.exec(lines[i]!) ?? [];
    if (fence === undefined) continue;
    const end = lines.findIndex((line, at) => at > i && line.trim() === fence);
    if (end < 0) throw new Error(`${page}:${i + 1}: a block without an end`);
    if (language === 'ts') {
      const code = lines.slice(i + 1, end).map((line) => line.slice(indent!.length));
      blocks.push({ line: i + 1, code });
    }
    i = end;
  }
  return blocks;
}

/** The first line that is no comment. */
function firstStatement({ code }: Block): string {
  return code.find((line) => !/^\s*(\/\/|$)/.test(line)) ?? '';
}
