/**
 * Puts generated sections into a document: what stands between `<!-- generated: NAME -->` and `<!-- end -->` is replaced,
 * the rest stays.
 */
import type { BenchResult } from './result.js';
import { SECTIONS } from './tables.js';

const SECTION = /<!-- generated: ([a-z-]+) -->\n([\s\S]*?)<!-- end -->/g;
const MARKER = /<!-- (generated: |end -->)/g;

/** @throws Error where a section has no generator, or a marker has no partner */
export function fillDocument(text: string, result: BenchResult): string {
  const filled = text.replace(SECTION, (_, name: string, old: string) => {
    if (/<!-- generated: /.test(old)) throw new Error(`section ${name} has no end`);
    const generate = SECTIONS[name];
    if (generate === undefined) throw new Error(`nothing generates a section ${name}`);
    return `<!-- generated: ${name} -->\n\n${generate(result)}\n\n<!-- end -->`;
  });
  const sections = text.match(SECTION)?.length ?? 0;
  if ((text.match(MARKER)?.length ?? 0) !== 2 * sections) throw new Error('a marker has no partner');
  return filled;
}
